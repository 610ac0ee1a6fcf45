"""Whatever ends the launcher, and whenever: no process and no folder stays behind.

It asks the system (psutil), not the harness, what is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harness.tests.conftest import ROOT, Playground, new_playground
from harness.waiting import eventually

Launch = Callable[..., "subprocess.Popen[str]"]
# The launcher imports, runs initdb, starts PostgreSQL, migrates, starts the backend: about 1.5 s on a quiet machine.
MOMENTS = [
    (0.1, signal.SIGINT),
    (0.4, signal.SIGKILL),
    (0.6, signal.SIGINT),
    (0.8, signal.SIGKILL),
    (1.0, signal.SIGTERM),
    (1.3, signal.SIGINT),
    (1.6, signal.SIGKILL),
]


@pytest.fixture
def launch(stand_in: Path, playground: Playground, tmp_path: Path) -> Iterator[Launch]:
    """Starts `python -m harness ARGUMENTS` in a session of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, mode: str = "", folder: Path = playground.folder) -> subprocess.Popen[str]:
        # The backend's environment is bare, so the mode goes into the command.
        command = tmp_path / f"stand-in-{mode}"
        command.write_text(f'#!/bin/sh\nSTAND_IN={mode} exec "{stand_in}" "$@"\n')
        command.chmod(0o755)
        env = os.environ | {
            "TMPDIR": str(folder),
            "NEXMDM_ARTIFACTS": str(tmp_path / "artifacts"),
            "NEXMDM_BACKEND_COMMAND": str(command),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", *arguments],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()
    eventually(playground.is_clean, 10)


def is_up(process: subprocess.Popen[str]) -> dict[str, object]:
    assert process.stdout is not None
    details: dict[str, object] = json.loads(process.stdout.readline())
    return details


def wait_for_process(playground: Playground, word: str) -> None:
    eventually(lambda: any(word in line for line in playground.processes()), 20, what=f"a process {word}")


@pytest.mark.slow
@pytest.mark.parametrize("after_s, number", MOMENTS)
def test_at_any_moment_of_the_start(
    launch: Launch, playground: Playground, after_s: float, number: signal.Signals
) -> None:
    process = launch("up")
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
    process.send_signal(number)
    try:
        process.communicate(timeout=10)
    except subprocess.TimeoutExpired:  # it met Python before it had begun: importing site, that loses a SIGINT
        process.send_signal(number)
        process.communicate(timeout=20)
    # A launcher that could end in order has waited for everything; after a SIGKILL the guard needs a moment.
    eventually(playground.is_clean, 10 if number == signal.SIGKILL else 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode, phase, number",
    [
        ("", "guard.py", signal.SIGINT),
        ("", "initdb", signal.SIGINT),
        ("", "initdb", signal.SIGKILL),
        ("", "postgres -D", signal.SIGTERM),
        ("", "postgres -D", signal.SIGKILL),
        ("hang_on_migrate", "migrate", signal.SIGINT),
        ("hang_on_migrate", "migrate", signal.SIGKILL),
        ("slow_start", "serve", signal.SIGINT),
        ("slow_start", "serve", signal.SIGHUP),
        ("never_ready", "serve", signal.SIGTERM),
        ("ignore_sigterm", "serve", signal.SIGKILL),
    ],
)
def test_in_each_phase_of_the_start(
    launch: Launch, playground: Playground, mode: str, phase: str, number: signal.Signals
) -> None:
    process = launch("up", mode=mode)
    wait_for_process(playground, phase)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    eventually(playground.is_clean, 10 if number == signal.SIGKILL else 0.5)
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number, said
        assert said.splitlines()[-1] == f"harness: stopped by {number.name}"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_while_the_programs_are_copied_for_the_first_time(launch: Launch, number: signal.Signals) -> None:
    with new_playground() as fresh:
        process = launch("up", folder=fresh.folder)
        # Who is not root needs no copy, and has initdb running instead.
        eventually(lambda: list(fresh.folder.glob("nexmdm-*/programs-*/*")) or "initdb" in str(fresh.processes()), 20)
        process.send_signal(number)
        process.communicate(timeout=20)
        eventually(fresh.is_clean, 10)


@pytest.mark.slow
def test_up_says_where_it_is_on_one_line_and_lives_until_the_signal(launch: Launch, playground: Playground) -> None:
    process = launch("up")
    details = is_up(process)
    assert sorted(details) == [
        "admin_key",
        "backend_command",
        "backend_pid",
        "base_url",
        "database_url",
        "fcm_url",
        "hmac_secret",
        "log_file",
        "platform_admin_key",
        "provider_control_url",
    ]
    assert psutil.pid_exists(int(str(details["backend_pid"])))
    assert len(playground.processes()) >= 4
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=20)
    assert rest == ""
    assert process.returncode == 130
    assert playground.is_clean()
    assert Path(str(details["log_file"])).is_file()


@pytest.mark.slow
def test_up_leaves_its_variables_for_a_shell_as_long_as_it_lives(launch: Launch, tmp_path: Path) -> None:
    file = tmp_path / "stack.env"
    process = launch("up", "--env-file", str(file))
    details = is_up(process)
    assert file.stat().st_mode & 0o077 == 0, "it holds secrets"
    names = ("NEXMDM_BASE_URL", "NEXMDM_ADMIN_KEY", "DATABASE_URL", "NEXMDM_BACKEND_COMMAND")
    shell = ["sh", "-c", f'. "$0"; printf "%s\\n" {" ".join(f"${name}" for name in names)}', str(file)]
    said = subprocess.run(shell, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == [details[name] for name in ("base_url", "admin_key", "database_url", "backend_command")]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert not file.exists()


@pytest.mark.slow
def test_an_env_file_that_cannot_be_written_is_one_clear_line(launch: Launch, tmp_path: Path) -> None:
    _, said = launch("up", "--env-file", str(tmp_path / "none" / "stack.env")).communicate(timeout=20)
    assert f"harness: --env-file {tmp_path}/none/stack.env: No such file or directory" in said


@pytest.mark.slow
def test_up_ends_when_its_backend_dies(launch: Launch, playground: Playground) -> None:
    process = launch("up")
    os.kill(int(str(is_up(process)["backend_pid"])), signal.SIGKILL)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "harness: the backend ended by itself with exit code -9" in said
    assert playground.is_clean()


@pytest.mark.slow
def test_a_second_signal_does_not_wait(launch: Launch, playground: Playground) -> None:
    process = launch("up", mode="ignore_sigterm")
    is_up(process)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)  # it asks the backend nicely, for ten seconds
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=8)
    assert process.returncode == 130
    eventually(playground.is_clean, 5)


@pytest.mark.slow
def test_a_process_that_left_its_group_is_found_when_the_launcher_is_killed(
    launch: Launch, playground: Playground
) -> None:
    process = launch("up", mode="orphan")
    is_up(process)
    wait_for_process(playground, "sleep 3600")
    process.kill()
    eventually(playground.is_clean, 10)


@pytest.mark.slow
def test_a_paused_server_is_ended_too(playground: Playground, tmp_path: Path) -> None:
    script = tmp_path / "pause.py"
    script.write_text(
        "import os, signal\nfrom harness.postgres.server import Postgres\n"
        "Postgres.start().pause()\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    env = os.environ | {"TMPDIR": str(playground.folder), "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, str(script)], env=env, check=False).returncode == -signal.SIGKILL
    eventually(playground.is_clean, 15)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_run_passes_the_signal_on_and_lets_the_command_finish_its_report(
    launch: Launch, playground: Playground, tmp_path: Path, number: signal.Signals
) -> None:
    report = tmp_path / "report"
    program = (
        "import pathlib, signal, sys, threading\n"
        "def end(number, frame):\n"
        f"    pathlib.Path({str(report)!r}).write_text(str(number)); sys.exit(3)\n"
        "signal.signal(signal.SIGINT, end); signal.signal(signal.SIGTERM, end)\n"
        "print('begun', flush=True); threading.Event().wait()\n"
    )
    process = launch("run", "--", sys.executable, "-c", program)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert report.read_text() == str(int(number))
    assert playground.is_clean()


@pytest.mark.slow
def test_sigterm_after_ctrl_c_does_not_cut_the_report_short(
    launch: Launch, playground: Playground, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    program = (
        "import pathlib, signal, sys, threading\n"
        "def end(number, frame):\n"
        f"    threading.Event().wait(1); pathlib.Path({str(report)!r}).write_text('whole'); sys.exit()\n"
        "signal.signal(signal.SIGINT, end)\n"
        "print('begun', flush=True); threading.Event().wait()\n"
    )
    process = launch("run", "--", sys.executable, "-c", program)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert (process.returncode, report.read_text()) == (130, "whole")
    assert playground.is_clean()


@pytest.mark.slow
def test_a_killed_run_takes_its_command_along(launch: Launch, playground: Playground) -> None:
    process = launch("run", "--", "sh", "-c", "sleep 3600 & echo begun; sleep 3600")
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.kill()
    eventually(playground.is_clean, 10)
