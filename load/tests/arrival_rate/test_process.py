"""The sending process: what it counts is what a generator here would have, and its end is told."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import gevent
import pytest

from harness.processes.announcing import AnnouncingChild
from load.arrival_rate.process import Sender, SenderLost
from load.arrival_rate.schedule import MEASURED, Leg
from load.arrival_rate.workers import LocalWorker, Source
from load.arrival_rate.workload import Assignment, WorkerConfig


def config(url: str, devices: int) -> WorkerConfig:
    ahead_s = time.time() - time.monotonic()
    tokens = ["nxd_token"] * devices
    return WorkerConfig(
        base_url=url,
        tokens=tokens,
        devices=devices,
        seed=1,
        run="run",
        origin=time.time(),
        workload="heartbeats",
        ahead_s=ahead_s,
    )


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with AnnouncingChild("load.tests.counting_server", "the server") as server:
        server.launch()
        yield server.wait_ready()["url"]


@pytest.fixture
def alone(url: str) -> Iterator[LocalWorker]:
    alone = LocalWorker(cast(Source, SimpleNamespace(config=lambda part: config(url, part.devices))))
    alone.configure(Assignment(devices=100, seed=1, run="run", origin=time.time(), workload="heartbeats"))
    yield alone
    alone.stop()


def leg(beats: int, per_s: float = 200) -> Leg:
    return Leg(MEASURED, time.time() + 0.05, per_s, beats)


def test_legs_are_sent_one_after_the_other_and_other_greenlets_go_on(alone: LocalWorker) -> None:
    turns = 0

    def turn() -> None:
        nonlocal turns
        while True:
            gevent.sleep(0.05)
            turns += 1

    other = gevent.spawn(turn)
    for beats in (60, 30):
        tally = alone.run(leg(beats))
        assert (tally.planned, tally.sent, tally.answered, tally.timings.whole("heartbeat").n) == (beats,) * 4
        assert alone.progress().answered == beats
    other.kill()
    assert turns >= 4


@pytest.mark.slow
def test_progress_is_told_while_a_leg_runs_and_one_that_is_cut_short_has_a_tally(alone: LocalWorker) -> None:
    running = gevent.spawn(alone.run, leg(2000))
    running.join(timeout=2.5)
    assert 100 < alone.progress().answered < 2000
    running.kill()
    tally = alone.partial()
    assert tally is not None
    assert alone.progress().answered < tally.answered < 2000


def test_a_process_that_is_killed_is_lost(url: str) -> None:
    sender = Sender(config(url, 1))
    gevent.spawn_later(0.3, os.kill, sender._child.pid, signal.SIGKILL)
    with pytest.raises(SenderLost, match="gone"):
        sender.run(leg(1000), lambda _: None)
    assert sender.cut_short() is None
    sender.stop()


def test_a_process_that_cannot_begin_is_lost() -> None:
    with pytest.raises(SenderLost):
        Sender(config("http://no.such.host.invalid", 1))
