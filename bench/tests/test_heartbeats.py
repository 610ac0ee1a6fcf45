"""A sample of heartbeats is four figures, or says why it is none: what refuses, what disturbs, what proves nothing."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from bench import heartbeats, steady
from bench.rig import Disturbed, Plan, Refused, Unsupported, Void
from bench.steady import Beat


class Rounds:
    """Stands for the worker under full load."""

    trouble: tuple[str, ...] = ()
    share = 1.0

    def __init__(self, *_: Any) -> None:
        self.shares, self.cpu_us = [self.share], [70.0, 72.0]
        self._rates = iter([10_000.0, 11_000.0])

    def round(self) -> tuple[float, str]:
        return next(self._rates), ""


class Rig:
    """A rig whose backend gives one answer, and whose open loop is told."""

    plan = Plan(rounds=2)
    tokens = ("token",)
    stack = SimpleNamespace(env={})
    wrk = SimpleNamespace(warm=lambda _url: None)

    @contextlib.contextmanager
    def backend(self) -> Any:
        yield SimpleNamespace(base_url="http://127.0.0.1:1")


def beats(status: int = 200, lag_s: float = 0.0) -> list[Beat]:
    return [Beat(n, n + lag_s, n + (n + 1) / 1000, status) for n in range(100)]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(heartbeats, "Worker", Rounds)
    monkeypatch.setattr(heartbeats, "next_period", lambda _rig: None)
    answered(monkeypatch, 200)
    monkeypatch.setattr(steady, "send", lambda *_: beats())
    return Rig()


def answered(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    answer = SimpleNamespace(status=status, body=b"why")
    monkeypatch.setattr(heartbeats, "client", lambda *_: SimpleNamespace(bearer=lambda *_, **__: answer))


def test_a_sample_has_a_value_for_each_figure(rig: Any) -> None:
    assert heartbeats.sample(rig) == [10_500.0, 71.0, pytest.approx(50), pytest.approx(95)]
    assert len(heartbeats.FIGURES) == 4
    assert [figure.higher_is_better for figure in heartbeats.FIGURES] == [True, False, False, False]


@pytest.mark.parametrize("status, kind", [(401, Unsupported), (404, Unsupported), (429, Refused), (503, Refused)])
def test_a_token_that_is_not_taken_ends_it_at_once(
    rig: Any, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[Exception]
) -> None:
    answered(monkeypatch, status)
    rig.wrk = SimpleNamespace(warm=None)  # not reached
    with pytest.raises(Refused, match=f"seeded device: {status} b'why'") as found:
        heartbeats.sample(rig)
    assert type(found.value) is kind


def test_a_wrong_answer_refuses_duplicates_prove_nothing_and_a_late_generator_disturbs(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steady, "send", lambda *_: beats(lag_s=0.1))
    with pytest.raises(Disturbed, match="late"):
        heartbeats.sample(rig)
    monkeypatch.setattr(steady, "send", lambda *_: beats(status=503))
    with pytest.raises(Refused, match="100 of 100"):
        heartbeats.sample(rig)
    monkeypatch.setattr(Rounds, "share", 0.3)
    with pytest.raises(Void, match="30%"):
        heartbeats.sample(rig)
    monkeypatch.setattr(Rounds, "trouble", ("one worker: 3 refused",))
    with pytest.raises(Refused, match="3 refused"):
        heartbeats.sample(rig)
