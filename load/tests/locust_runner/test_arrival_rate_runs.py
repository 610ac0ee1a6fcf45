"""Whole runs, in processes of their own, as a user starts them: Locust in one process and in three, and the runner."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.processes.announcing import AnnouncingChild
from harness.processes.child import hearing_sigint
from load.tests.test_main import ROOT, dead_url, run, target

pytestmark = pytest.mark.slow  # whole runs

FILE = "load/tests/locust_runner/small_fleet.py"
LOCUST = (sys.executable, "-m", "locust", "--headless", "--only-summary", "-f", FILE)
DURATION_S, PER_S, DEVICES = 2, 600, 101


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    with contextlib.ExitStack() as started:

        def start(*arguments: int) -> str:
            server = started.enter_context(AnnouncingChild("load.tests.counting_server", "the server"))
            server.launch(*map(str, arguments))
            return str(server.wait_ready()["url"])

        yield start


def document(directory: Path, suite: str = "fleet-scale") -> dict[str, Any]:
    return dict(json.loads((directory / suite / "result.json").read_text()))


OPTIONS = ("--cadence", f"{DEVICES / PER_S:.9f}", "--duration", f"{DURATION_S}s")


@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["alone", "two-workers"])
def test_planned_is_answered_is_what_the_server_counted(
    tmp_path: Path, serve: Callable[..., str], processes: tuple[str, ...]
) -> None:
    done = run(*LOCUST, *OPTIONS, *processes, artifacts=tmp_path, **target(serve()))
    result = document(tmp_path)
    assert done.returncode == 0, result["reasons"] + [done.stderr]
    beats = DURATION_S * PER_S
    assert result["facts"]["heartbeats"] == f"{beats} planned / {beats} sent / {beats} answered as wanted"
    assert result["facts"]["warm-up, not judged"].startswith(f"{DEVICES} planned / {DEVICES} sent / {DEVICES} answered")
    assert {check["id"]: check["status"] for check in result["checks"]} == {"preparation": "pass", "counters": "pass"}
    assert f"{beats + DEVICES} heartbeats" in json.dumps(result["checks"])
    kinds = json.loads((tmp_path / "fleet-scale" / "latency.json").read_text())["kinds"]
    assert {kind["kind"]: (kind["n"], kind["errors"]) for kind in kinds} == {
        "heartbeat": (beats, 0),
        "warm-up": (DEVICES, 0),
    }


def test_a_server_that_dies_half_way_fails(tmp_path: Path, serve: Callable[..., str]) -> None:
    done = run(*LOCUST, *OPTIONS, artifacts=tmp_path, **target(serve(0, 600)))
    result = document(tmp_path)
    assert (done.returncode, result["verdict"]) == (1, "fail")
    assert any("heartbeat error rate" in reason for reason in result["reasons"])


def test_nothing_that_listens_is_inconclusive(tmp_path: Path) -> None:
    done = run(*LOCUST, *OPTIONS, artifacts=tmp_path, **target(dead_url()))
    assert done.returncode == 2
    assert document(tmp_path)["verdict"] == "inconclusive"


def test_ctrl_c_leaves_artifacts_and_no_verdict(tmp_path: Path, serve: Callable[..., str]) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("NEXMDM_", "DATABASE_URL"))}
    env = {**inherited, "NEXMDM_ARTIFACTS": str(tmp_path), **target(serve())}
    pipe = subprocess.PIPE
    command = hearing_sigint([*LOCUST, "--duration", "60s"])
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=pipe, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "measuring" in line:
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 2
    result = document(tmp_path)
    assert (result["verdict"], result["reasons"]) == ("inconclusive", ["interrupted"])
    assert {limit["status"] for limit in result["limits"]} == {"inconclusive"}


def test_without_a_database_every_command_says_what_is_missing(tmp_path: Path) -> None:
    locust = (sys.executable, "-m", "locust", "--headless", "--only-summary", "-f")
    files = [f"load/scenarios/{name}.py" for name in ("fleet_scale", "capacity", "soak", "platform_writes")]
    commands: list[tuple[str, ...]] = [(*locust, file) for file in files]
    commands.append((sys.executable, "-m", "load", "capacity"))
    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(lambda command: run(*command, artifacts=tmp_path, **target(dead_url())), commands))
    for done in ended:
        assert done.returncode == 2
        assert "DATABASE_URL" in done.stderr
        assert "Traceback" not in done.stderr
