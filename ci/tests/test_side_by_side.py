"""Commands side by side: all are run, each is heard whole, the worst decides, Ctrl-C leaves none."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ci.side_by_side import main
from harness.processes.child import hearing_sigint
from harness.waiting import eventually

PYTHON = (sys.executable, "-c")


def exits(code: int) -> list[str]:
    return [*PYTHON, f"import sys; print('one of', {code}); sys.exit({code})"]


@pytest.mark.parametrize("codes, expected", [((0, 0, 0), 0), ((0, 1, 2), 1), ((2, 0), 2), ((0, 5), 2)])
def test_the_worst_decides(codes: tuple[int, ...], expected: int, capfd: pytest.CaptureFixture[str]) -> None:
    argv = [word for code in codes for word in ("---", *exits(code))][1:]
    assert main(["2", *argv]) == expected
    assert sorted(capfd.readouterr().out.splitlines()) == sorted(f"one of {code}" for code in codes)


def test_ctrl_c_ends_all_and_starts_no_more(tmp_path: Path) -> None:
    started = [tmp_path / name for name in ("first", "second", "third", "fourth")]
    sleeper = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"
    argv = [word for path in started for word in ("---", *PYTHON, sleeper, str(path))][1:]
    command = hearing_sigint([sys.executable, "-m", "ci.side_by_side", "3", *argv])
    with subprocess.Popen(command, stdout=subprocess.PIPE) as run:
        eventually(lambda: all(path.exists() for path in started[:3]), 20.0)
        run.send_signal(signal.SIGINT)
        assert run.wait(20) == 130
    assert not started[3].exists()
