"""A backend or a generator that stops, or dies, in the middle of a run: real processes, real signals, real sockets.

A device beats every quarter of a second here, so that a generator that waits for its answers would miss most of them.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from harness.processes.announcing import AnnouncingChild
from harness.processes.starters import Process
from load.tests.fake_backend import ADMIN_KEY

pytestmark = pytest.mark.slow  # whole runs, some of them frozen

ROOT = Path(__file__).parents[3]
DEVICES, DURATION_S, INTERVAL_S, STALL_S = 12, 6.0, (0.2, 0.3), 2.0
PER_S = DEVICES * 2 / sum(INTERVAL_S)
SCRIPT = f"""
import sys
from pathlib import Path
from rich.console import Console
from harness.settings import Target
from load.__main__ import simulate
from load.workloads.simulation import Profile

profile = Profile(
    devices={DEVICES}, duration_s={DURATION_S}, interval_s={INTERVAL_S}, bucket_s=0.2, edge_clear_s=0.0,
    duplicate_share=0.0, answer_after_s=(0.05, 0.1), message_within_s=1.0, settle_s=0.2, scrapes=20, lag_ms=1000.0,
)
sys.exit(simulate(profile, Target.from_env(), Path(sys.argv[1]), 7, Console(stderr=True))["exit_code"])
"""


@dataclass
class Ended:
    """What a run left. `stopped`, `went_on`: when the signals were sent, seconds since the epoch."""

    exit_code: int
    directory: Path
    stopped: float
    went_on: float

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.directory / "result.json").read_text())
        return document

    @property
    def limits(self) -> dict[str, dict[str, Any]]:
        return {limit["name"]: limit for limit in self.document["limits"]}

    @property
    def beats(self) -> list[tuple[float, float]]:
        """When each heartbeat was due, seconds since the epoch, and how long after that it was answered, in seconds."""
        start = datetime.fromisoformat(self.document["started_at"]).timestamp()
        with (self.directory / "samples.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["kind"] == "heartbeat"]
        times = [(float(row["intended_ms"]) / 1000, float(row["answered_ms"]) / 1000) for row in rows]
        return [(start + due, answered - due) for due, answered in times]


@contextmanager
def process(*command: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env={**os.environ, **environ}, text=True, stdout=-1, stderr=-1
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def run(directory: Path, disturb: Callable[[Process, Process], None]) -> Ended:
    """A simulation that is disturbed one second into its stream, by what is done to (backend, generator)."""
    with AnnouncingChild("load.tests.fake_backend_server", "the stand-in") as backend:
        backend.launch("0.2")
        target = {"NEXMDM_BASE_URL": backend.wait_ready()["url"]}
        target |= {"NEXMDM_ADMIN_KEY": ADMIN_KEY, "NEXMDM_HMAC_SECRET": "secret-secret-secret"}
        for name in ("DATABASE_URL", "NEXMDM_LOG_FILE", "NEXMDM_FCM_URL", "NEXMDM_BACKEND_PID"):
            target[name] = ""
        with process("-c", SCRIPT, str(directory), **target) as generator:
            assert generator.stderr is not None
            for line in generator.stderr:
                if "beating" in line:
                    break
            time.sleep(1.0)
            stopped = time.time()
            disturb(backend.process, generator)
            went_on = time.time()
            generator.communicate(timeout=40)
            return Ended(generator.returncode, directory, stopped, went_on)


def pause(stopped: Process) -> None:
    stopped.send_signal(signal.SIGSTOP)
    time.sleep(STALL_S)
    stopped.send_signal(signal.SIGCONT)


DISTURBED: dict[str, Callable[[Process, Process], None]] = {
    "backend stalls": lambda backend, _: pause(backend),
    "backend dies": lambda backend, _: backend.send_signal(signal.SIGKILL),
    "generator stalls": lambda _, generator: pause(generator),
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """They mostly wait: all run at once."""
    with ThreadPoolExecutor() as pool:
        runs = {name: pool.submit(run, tmp_path_factory.mktemp("run"), how) for name, how in DISTURBED.items()}
        return {name: future.result() for name, future in runs.items()}


def test_stall_of_the_backend_shows_in_every_beat_that_was_due_meanwhile(ended: dict[str, Ended]) -> None:
    run = ended["backend stalls"]
    stall_s = run.went_on - run.stopped
    # Beats are due at a steady rate, so those of the stall's first second, and no fewer, wait for the rest of it.
    due = [late_s for at, late_s in run.beats if run.stopped + 0.05 < at < run.went_on - 1.0]
    assert len(due) > 0.8 * PER_S * (stall_s - 1.05)
    assert min(due) > 1.0
    assert sum(late_s > 1.0 for _, late_s in run.beats) >= len(due)


def test_stall_of_the_backend_is_in_p99_and_fails(ended: dict[str, Ended]) -> None:
    run = ended["backend stalls"]
    p99 = run.limits["heartbeat p99"]
    # A share of stall / duration waits evenly from nothing to all of it: one in a hundred of all is beyond this.
    share = STALL_S / DURATION_S
    assert p99["observed"] > 1000 * STALL_S * (1 - 0.01 / share) - 150
    assert (p99["status"], run.limits["heartbeat p95"]["status"], run.exit_code) == ("fail", "fail", 1)


def test_generator_did_not_fall_behind_while_it_waited(ended: dict[str, Ended]) -> None:
    for name in ("backend stalls", "backend dies"):
        limits = ended[name].limits
        assert (limits["generator lag p99"]["status"], limits["requests sent of plan"]["status"]) == ("pass", "pass")


def test_backend_that_dies_fails_and_its_run_is_told(ended: dict[str, Ended]) -> None:
    run = ended["backend dies"]
    assert (run.exit_code, run.document["verdict"]) == (1, "fail")
    assert run.limits["heartbeat error rate"]["status"] == "fail"
    assert run.limits["heartbeat error rate"]["observed"] > 0.5
    for name in run.document["files"]:
        assert (run.directory / name).stat().st_size, name
    assert {path.name for path in run.directory.iterdir()} == {*run.document["files"], "result.json", "summary.md"}


def test_generator_that_stalls_blames_nobody(ended: dict[str, Ended]) -> None:
    run = ended["generator stalls"]
    assert (run.exit_code, run.document["verdict"]) == (2, "inconclusive")
    assert run.limits["generator lag p99"]["status"] == "inconclusive"
    assert {limit["status"] for limit in run.document["limits"]} <= {"pass", "inconclusive", "disabled"}
    assert {check["status"] for check in run.document["checks"]} <= {"pass", "inconclusive", "disabled"}
