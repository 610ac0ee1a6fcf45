"""Workers that share no address with their master, as on other machines: each in a network namespace of its own.

It needs root and `ip`; where it cannot have them it proves nothing, says so, and fails in CI.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.processes.announcing import AnnouncingChild
from load.tests.test_main import ROOT, target

pytestmark = pytest.mark.slow  # whole runs

FILE, NET = "load/tests/locust_runner/small_fleet.py", "10.213.87"
KEY = target("")["NEXMDM_HMAC_SECRET"]
OPTIONS = ("--cadence", "0.25s", "--duration", "5s", "--seed", "7")
ROLES = ("master", "worker-1", "worker-2")


def ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True, capture_output=True, text=True)


@pytest.fixture
def machines() -> Iterator[dict[str, str]]:
    """Role -> its namespace; all are joined by a bridge, at whose address the server is."""
    tag = f"nx{os.getpid()}"
    with contextlib.ExitStack() as undo:
        try:
            ip("link", "add", tag, "type", "bridge")
            undo.callback(ip, "link", "del", tag)
            ip("addr", "add", f"{NET}.1/24", "dev", tag)
            ip("link", "set", tag, "up")
            for number, role in enumerate(ROLES):
                name, outer, inner = f"{tag}-{role}", f"{tag}o{number}", f"{tag}i{number}"
                ip("netns", "add", name)
                undo.callback(ip, "netns", "del", name)
                ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
                ip("link", "set", outer, "master", tag, "up")
                ip("-n", name, "addr", "add", f"{NET}.{number + 2}/24", "dev", inner)
                ip("-n", name, "link", "set", inner, "up")
                ip("-n", name, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", "") or error
            pytest.skip(f"inconclusive, nothing was proved: this machine gives no network namespaces: {why}")
        yield {role: f"{tag}-{role}" for role in ROLES}


def facts(directory: Path) -> dict[str, Any]:
    """What was counted; how quick it was is the machine's affair."""
    document = json.loads((directory / "fleet-scale" / "result.json").read_text())
    assert all(check["status"] == "pass" for check in document["checks"]), document["checks"]
    kinds = json.loads((directory / "fleet-scale" / "latency.json").read_text())["kinds"]
    told = ("warm-up, not judged", "heartbeats")
    return {name: document["facts"][name] for name in told} | {kind["kind"]: kind["n"] for kind in kinds}


def start(artifacts: Path, url: str, *words: str, namespace: str = "") -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("NEXMDM_", "DATABASE_URL"))}
    env = {**inherited, "NEXMDM_ARTIFACTS": str(artifacts), **target(url)}
    inside = ("ip", "netns", "exec", namespace) if namespace else ()
    command = [*inside, sys.executable, "-m", "locust", "-f", FILE, "--only-summary", *words]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_master_and_two_workers_count_what_one_process_does(tmp_path: Path, machines: dict[str, str]) -> None:
    with contextlib.ExitStack() as running:
        server = running.enter_context(AnnouncingChild("load.tests.counting_server", "the server"))
        server.launch("--host", f"{NET}.1", "--key", KEY)
        url = str(server.wait_ready()["url"])
        alone = start(tmp_path / "alone", url, "--headless", *OPTIONS, namespace=machines["master"])
        running.callback(alone.kill)
        said, _ = alone.communicate(timeout=90)
        assert (tmp_path / "alone" / "fleet-scale" / "result.json").exists(), said
        workers = [
            start(tmp_path, url, "--worker", "--master-host", f"{NET}.2", namespace=machines[role])
            for role in ROLES[1:]
        ]
        words = ("--headless", "--master", "--expect-workers", "2", *OPTIONS)
        master = start(tmp_path / "several", url, *words, namespace=machines["master"])
        for process in (*workers, master):
            running.callback(process.kill)
        said, _ = master.communicate(timeout=120)
        assert (tmp_path / "several" / "fleet-scale" / "result.json").exists(), said
        for worker in workers:
            worker.communicate(timeout=30)
    assert facts(tmp_path / "several") == facts(tmp_path / "alone")
    assert facts(tmp_path / "several")["heartbeats"] == "2020 planned / 2020 sent / 2020 answered as wanted"


def test_a_worker_without_the_secret_is_found_out(tmp_path: Path) -> None:
    """What it sends is derived from its own environment, not from what the master told it."""
    with AnnouncingChild("load.tests.counting_server", "the server") as server:
        server.launch("--key", "another key than that of the worker")
        done = start(tmp_path, str(server.wait_ready()["url"]), "--headless", *OPTIONS)
        done.communicate(timeout=90)
    document = json.loads((tmp_path / "fleet-scale" / "result.json").read_text())
    assert (done.returncode, document["verdict"]) == (2, "inconclusive")
    assert "status 401" in document["reasons"][0]
