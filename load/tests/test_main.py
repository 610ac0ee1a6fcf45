"""The command line as a user meets it: in a process of its own, since locust patches the one that imports it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from harness import preflight
from load.tests.fake_backend import ADMIN_KEY
from load.workloads.options import seconds

ROOT = Path(__file__).parents[2]


def dead_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def run(*command: str, artifacts: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("NEXMDM_", "DATABASE_URL"))}
    env = {**inherited, "NEXMDM_ARTIFACTS": str(artifacts), **environ}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


def target(url: str) -> dict[str, str]:
    """As the launcher gives it, who has found the target well: what is none, or dies later, gets as far as the run."""
    keys = {"NEXMDM_ADMIN_KEY": ADMIN_KEY, "NEXMDM_HMAC_SECRET": "secret-secret-secret"}
    return {"NEXMDM_BASE_URL": url, **keys, preflight.CHECKED: url}


RUNNER = (sys.executable, "-m", "load", "sim20")
LOCUST = (sys.executable, "-m", "locust", "--headless", "--only-summary", "-f", "load/scenarios/sim20.py")


def test_help_needs_no_target(tmp_path: Path) -> None:
    done = run(*RUNNER, "--help", artifacts=tmp_path)
    assert done.returncode == 0
    assert "--duration" in done.stdout


def test_without_a_target_it_says_what_is_missing(tmp_path: Path) -> None:
    for command in (RUNNER, LOCUST):
        done = run(*command, artifacts=tmp_path)
        assert done.returncode == 2
        assert "NEXMDM_ADMIN_KEY" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [RUNNER, LOCUST], ids=["runner", "locust"])
def test_dead_backend_is_inconclusive_and_leaves_artifacts(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = run(*command, artifacts=tmp_path, **target(dead_url()))
    assert done.returncode == 2
    document = json.loads((tmp_path / "sim20" / "result.json").read_text())
    assert document["verdict"] == "inconclusive"
    assert ADMIN_KEY not in done.stdout + done.stderr + (tmp_path / "sim20" / "summary.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("scenario,more", [("fleet100", ["--compress", "10"]), ("fanout", ["--rounds", "2"])])
def test_other_scenarios_run_as_locust_files_too(tmp_path: Path, scenario: str, more: list[str]) -> None:
    done = run(*LOCUST[:-1], f"load/scenarios/{scenario}.py", *more, artifacts=tmp_path, **target(dead_url()))
    assert done.returncode == 2
    document = json.loads((tmp_path / scenario / "result.json").read_text())
    assert (document["suite"], document["verdict"]) == (scenario, "inconclusive")
    plans = {"fleet100": "every 11-13 s for 60 s", "fanout": "to 1000 devices, 2 times"}
    assert plans[scenario] in document["facts"]["plan"]


def test_locust_host_wins_over_the_environment(tmp_path: Path) -> None:
    url = dead_url()
    other = {
        **target("http://nowhere.test"),
        preflight.CHECKED: url,
        "DATABASE_URL": "postgresql://nowhere.test/x",
        "NEXMDM_PROVIDER_CONTROL_URL": "http://nowhere.test",
        "NEXMDM_BACKEND_PID": "1",
    }
    done = run(*LOCUST, "--host", url, artifacts=tmp_path, **other)
    assert done.returncode == 2
    document = json.loads((tmp_path / "sim20" / "result.json").read_text())
    assert (document["facts"]["target"], document["capabilities"]) == (url, [])


def test_impossible_profile_is_refused(tmp_path: Path) -> None:
    assert run(*RUNNER, "--devices", "0", artifacts=tmp_path, **target(dead_url())).returncode == 2
    assert run(*LOCUST, "-t", "5s", artifacts=tmp_path, **target(dead_url())).returncode == 2
    refused = run(*RUNNER[:-1], "fleet100", "--compress", "11", artifacts=tmp_path, **target(dead_url()))
    assert refused.returncode == 2
    assert "can be compressed 10 times at most" in refused.stderr


@pytest.mark.parametrize("text,wanted", [("30", 30), ("30s", 30), ("2m", 120), ("1.5m", 90), ("1h", 3600)])
def test_duration_is_read_with_its_unit(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "s", "-3s", "10 s", "1d", "nan"])
def test_duration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        seconds(text)
