"""CPU time is laid at the right door: a child of the launcher is the run's own, anybody else's program is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from harness.verdict.cpu_contention import Strangers

BURNT_S = 0.5
IDLE = "import sys\nsys.stdin.read()\n"
BURN = f"import time\nwhile time.process_time() < {BURNT_S}: pass\nprint('done', flush=True)\n{IDLE}"
LAUNCH = f"import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', {IDLE!r}]).pid, flush=True)\n{IDLE}"
Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(code: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        started.append(subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True))
        return started[-1]

    yield run
    for process in started:
        process.communicate("")


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_without_a_backend_here_nothing_is_known() -> None:
    assert Strangers(None).share() is None


def test_backend_that_is_gone_is_no_error(start: Start) -> None:
    process = start(IDLE)
    strangers = Strangers(process.pid)
    process.communicate("")
    assert strangers.share() is None


def test_what_a_process_burns_is_strangers_unless_the_launcher_started_it(start: Start) -> None:
    # This process is one launcher, with the burning child; another one has a child that idles.
    ours, theirs = Strangers(start(IDLE).pid), Strangers(int(said(start(LAUNCH))))
    began = time.monotonic()
    said(start(BURN))
    own, foreign = ours.share(), theirs.share()
    capacity_s = (time.monotonic() - began) * (os.cpu_count() or 1)
    assert own is not None
    assert foreign is not None
    # Both saw the same machine; what lies between them is the burnt time.
    assert (foreign - own) * capacity_s > BURNT_S * 0.6
