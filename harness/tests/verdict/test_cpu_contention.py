"""CPU time is laid at the right door: a child of the launcher or of ours is the run's own, others are not."""

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
LOOK = """
import sys
from harness.verdict.cpu_contention import Strangers
strangers = Strangers({})
print("looking", flush=True)
sys.stdin.readline()
print(strangers.share(), flush=True)
"""
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


def test_what_a_process_burns_is_strangers_unless_the_launcher_or_we_started_it(start: Start) -> None:
    # This process is one launcher, and it has the burning child; another one has a child that idles.
    elsewhere = int(said(start(LAUNCH)))
    ours, theirs, looker = Strangers(start(IDLE).pid), Strangers(elsewhere), start(LOOK.format(elsewhere))
    said(looker)
    began = time.monotonic()
    said(start(BURN))
    assert looker.stdin is not None
    print(file=looker.stdin, flush=True)
    own, own_too, foreign = ours.share(), theirs.share(), float(said(looker))
    capacity_s = (time.monotonic() - began) * (os.cpu_count() or 1)
    assert own is not None
    assert own_too is not None
    # All saw the same machine; what lies between them is the burnt time.
    assert (foreign - own) * capacity_s > BURNT_S * 0.6
    assert (foreign - own_too) * capacity_s > BURNT_S * 0.6
