"""Growth is seen where there is some, and only there; too few samples say nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.verdict.thresholds import Status
from load.arrival_rate.growth import growth, same_processes, slope_mib_per_h
from load.measurements.process_stats import Sample, resources_csv, sample
from load.verdict.check import Undecided


def course(mib: Callable[[float], float], fds: Callable[[float], int] = lambda _: 30, n: int = 60) -> list[Sample]:
    """An hour of samples of two processes; the functions take the share of the time that has passed."""
    return [
        Sample(3600 * k / (n - 1), pid, mib(k / (n - 1)) + 50, mib(k / (n - 1)), fds(k / (n - 1)), 4)
        for k in range(n)
        for pid in (11, 12)
    ]


def outcome(samples: list[Sample]) -> tuple[Status, Status]:
    memory, fds = growth(samples, 0.10, 10)
    return memory.status, fds.status


def test_steady_processes_pass() -> None:
    assert outcome(course(lambda _: 80.0)) == (Status.PASS, Status.PASS)


def test_growth_in_the_warm_up_alone_passes() -> None:
    assert outcome(course(lambda share: 40 + 160 * min(share, 0.25))) == (Status.PASS, Status.PASS)


def test_a_leak_of_memory_fails() -> None:
    samples = course(lambda share: 80 * (1 + 0.4 * share))
    assert outcome(samples) == (Status.FAIL, Status.PASS)
    assert slope_mib_per_h(samples) == pytest.approx(2 * 80 * 0.4, rel=0.01)


def test_a_leak_of_descriptors_fails() -> None:
    assert outcome(course(lambda _: 80.0, lambda share: 30 + int(20 * share))) == (Status.PASS, Status.FAIL)


def test_one_peak_is_no_growth() -> None:
    samples = course(lambda _: 80.0)
    samples[-1] = replace(samples[-1], uss_mib=900.0)
    assert outcome(samples) == (Status.PASS, Status.PASS)


@pytest.mark.parametrize("n", [0, 1, 12])
def test_too_few_samples_are_inconclusive(n: int) -> None:
    samples = course(lambda _: 80.0, n=n) if n > 1 else [Sample(0.0, 1, 1.0, 1.0, 1, 1)] * n
    assert outcome(samples) == (Status.INCONCLUSIVE, Status.INCONCLUSIVE)


def test_a_process_that_was_replaced_fails() -> None:
    samples = course(lambda _: 80.0)
    assert same_processes(samples, "").faults == []
    assert same_processes([*samples[:-1], replace(samples[-1], pid=13)], "").faults == ["process 12 is gone"]
    assert same_processes(samples, "NoSuchProcess").faults == ["NoSuchProcess"]
    with pytest.raises(Undecided, match="no sample"):
        same_processes([], "")


def test_a_real_process_is_read() -> None:
    own = sample(os.getpid(), 1.5)[0]
    assert (own.t_s, own.pid) == (1.5, os.getpid())
    assert min(own.rss_mib, own.uss_mib, own.fds, own.threads) > 0
    assert resources_csv([own]).splitlines()[0] == "t_s,pid,rss_mib,uss_mib,fds,threads"
