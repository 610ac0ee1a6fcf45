"""Processes: a dead worker is replaced, a dead parent takes its workers along, a signal drains and ends with 0."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

WITHIN_S: Final = 20.0


def eventually(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not check():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)  # noqa: TID251 - the one bounded wait of these tests


@pytest.fixture
def serve(database_url: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "NEXMDM_DATABASE_URL": database_url,
        "NEXMDM_ADMIN_KEY": "0123456789abcdef",
        "NEXMDM_HMAC_SECRET": "0123456789abcdef",
        "NEXMDM_PORT": "0",
        "TMPDIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "nexmdm", "serve", "--workers", "2"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            parent = psutil.Process(process.pid)
            eventually(lambda: len(parent.children()) == 3)
            yield process
        finally:
            process.kill()


def workers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children()


def gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(serve: subprocess.Popen[bytes]) -> None:
    victim = workers(serve)[0]
    victim.kill()
    eventually(lambda: len(workers(serve)) == 3 and victim not in workers(serve))


@pytest.mark.slow
def test_a_parent_that_is_killed_takes_its_workers_along(serve: subprocess.Popen[bytes], tmp_path: Path) -> None:
    orphans = workers(serve)
    serve.kill()
    eventually(lambda: gone(orphans))
    assert not list(tmp_path.iterdir()), "nothing is left in the temporary directory"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_with_exit_code_0(serve: subprocess.Popen[bytes], number: signal.Signals) -> None:
    children = workers(serve)
    serve.send_signal(number)
    assert serve.wait(WITHIN_S) == 0
    assert gone(children)


def test_bad_configuration_is_one_line_and_exit_code_2() -> None:
    ended = subprocess.run([sys.executable, "-m", "nexmdm", "serve"], env={}, capture_output=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.decode().count("\n") == 1
    assert ended.stderr.startswith(b"nexmdm: configuration error: NEXMDM_DATABASE_URL: is missing; ")
