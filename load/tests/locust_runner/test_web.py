"""A scenario under Locust's web page, in a process of its own, as `nox -s load -- NAME --web` starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from harness.processes.announcing import AnnouncingChild
from harness.processes.child import hearing_sigint
from harness.waiting import eventually
from load.tests.test_main import ROOT, dead_url, run, target

FORM = {"user_count": "1", "spawn_rate": "1"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def call(url: str, form: dict[str, str] | None = None) -> str:
    request = Request(url, urlencode(form).encode() if form is not None else None)
    with urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


def left(artifacts: Path) -> dict[str, Any]:
    return dict(json.loads((artifacts / "fleet-scale" / "result.json").read_text()))


def serves(page: str) -> bool:
    try:
        return bool(call(f"{page}/verdict"))
    except OSError:
        return False


@contextmanager
def locust(url: str, artifacts: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Locust with its page, and the page's URL."""
    file, port = "load/tests/locust_runner/small_fleet.py", free_port()
    page = ("--web-host", "127.0.0.1", "--web-port", str(port))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("NEXMDM_", "DATABASE_URL"))}
    env = {**inherited, "NEXMDM_ARTIFACTS": str(artifacts), **target(url)}
    command = hearing_sigint([sys.executable, "-m", "locust", "-f", file, *page, *options])
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            eventually(lambda: serves(f"http://127.0.0.1:{port}"), 30.0)
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.mark.slow
def test_it_starts_and_stops_by_its_buttons_and_shows_the_verdict(tmp_path: Path) -> None:
    with AnnouncingChild("load.tests.counting_server", "the server") as server:
        server.launch()
        url = str(server.wait_ready()["url"])
        with locust(url, tmp_path, "--cadence", "0.2s") as (process, page):
            assert "not begun" in call(f"{page}/verdict")
            call(f"{page}/swarm", {**FORM, "duration": "3"})
            eventually(lambda: "what the run needs is ready" in call(f"{page}/verdict"), 30.0)
            document, shown = left(tmp_path), call(f"{page}/verdict")
            assert document["facts"]["heartbeats"] == "1515 planned / 1515 sent / 1515 answered as wanted"
            assert f"fleet-scale: {document['verdict']}</h1>" in shown  # which one is the machine's affair
            assert "the server counted what was answered: 1616 heartbeats" in shown
            call(f"{page}/swarm", {**FORM, "duration": "60"})
            eventually(lambda: "measuring" in call(f"{page}/verdict"), 20.0)
            assert "<td>warm-up</td><td>101</td><td>0</td>" in call(f"{page}/verdict")
            call(f"{page}/stop", {})
            eventually(lambda: "fleet-scale: inconclusive</h1>" in call(f"{page}/verdict"), 20.0)
            assert (left(tmp_path)["verdict"], left(tmp_path)["reasons"]) == ("inconclusive", ["stopped"])
            assert process.poll() is None  # the page stays
            call(f"{page}/swarm", {**FORM, "devices": "0"})
            eventually(lambda: "It could not begin: devices" in call(f"{page}/verdict"), 10.0)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 2  # there was no run


def test_what_it_cannot_have_is_refused(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "load", "sim20", "--web")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(*command, str(taken.getsockname()[1]), artifacts=tmp_path, **target(dead_url()))
    assert (done.returncode, "cannot be used" in done.stderr) == (2, True)
    done = run(*command, "--artifacts", "x", artifacts=tmp_path, **target(dead_url()))
    assert (done.returncode, "NEXMDM_ARTIFACTS" in done.stderr) == (2, True)
