"""`python -m harness run` and the errors of the command line: exit codes, the environment of CMD, one clear line.

It leaves signals to test_interrupts.py.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from harness.postgres.server import Postgres
from harness.tests.conftest import ROOT, Playground
from harness.tests.fronts import KEY, SECRET, listening, nexmdm

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(stand_in: Path, playground: Playground, tmp_path: Path) -> Run:
    """`python -m harness ARGUMENTS` to its end, in a clean environment."""

    def end(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        own = {name: value for name, value in os.environ.items() if "NEXMDM" not in name and name != "DATABASE_URL"}
        own |= {
            "TMPDIR": str(playground.folder),
            "NEXMDM_ARTIFACTS": str(tmp_path / "artifacts"),
            "NEXMDM_BACKEND_COMMAND": str(stand_in),
        }
        command = [sys.executable, "-m", "harness", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=own | extra, capture_output=True, text=True, timeout=60, check=False
        )
        assert playground.is_clean()
        return done

    return end


def test_the_command_runs_beside_the_stack_and_its_exit_code_is_ours(run: Run) -> None:
    program = (
        "import os, sys, urllib.request\n"
        "urllib.request.urlopen(os.environ['NEXMDM_BASE_URL'] + '/readyz')\n"
        "print(f\"at {os.environ['NEXMDM_BASE_URL']}, stdin:\", sys.stdin.read()); sys.exit(7)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = run("run", "--set", f"NEXMDM_PORT={port}", "--", sys.executable, "-c", program)
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith(f"at http://127.0.0.1:{port}, stdin:")  # a setting in place of the stack's own
    assert "harness: ready after" in done.stderr


def test_a_setting_that_is_none_is_refused(run: Run) -> None:
    done = run("run", "--set", "SYNC_EVERY_S=2", "--", "true")
    assert (done.returncode, "NEXMDM_NAME=VALUE" in done.stderr) == (2, True)
    done = run("run", "--postgres", "max_wal_size", "--", "true")
    assert (done.returncode, "NAME=VALUE, as in postgresql.conf" in done.stderr) == (2, True)


@pytest.mark.slow
def test_the_command_gets_every_variable_of_the_target(run: Run) -> None:
    done = run("run", "--workers", "2", "--", "sh", "-c", "env")
    given = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    for name in ("NEXMDM_BASE_URL", "NEXMDM_ADMIN_KEY", "NEXMDM_HMAC_SECRET", "DATABASE_URL", "NEXMDM_FCM_URL"):
        assert given[name]
    assert int(given["NEXMDM_BACKEND_PID"])
    assert Path(given["NEXMDM_LOG_FILE"]).is_file(), "the log outlives the run"


def test_a_command_that_dies_of_a_signal_has_the_exit_code_of_a_shell(run: Run) -> None:
    assert run("run", "--only", "postgres", "--", "sh", "-c", "kill -TERM $$").returncode == 143


def test_only_postgres_starts_nothing_else(run: Run) -> None:
    program = (
        "import os, psycopg\n"
        "assert 'NEXMDM_BASE_URL' not in os.environ\n"
        "with psycopg.connect(os.environ['NEXMDM_DATABASE_URL']) as connection:\n"
        "    print(connection.execute('SELECT 1').fetchall())\n"
    )
    done = run("run", "--only", "postgres", "--", sys.executable, "-c", program, NEXMDM_BACKEND_COMMAND="missing")
    assert (done.returncode, done.stdout) == (0, "[(1,)]\n"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("only", [[], ["--only", "postgres"]])
def test_a_given_server_is_used_and_left_clean(run: Run, only: list[str]) -> None:
    with Postgres.start() as server:
        done = run("run", *only, "--", "sh", "-c", "echo $DATABASE_URL", DATABASE_URL=server.admin_url)
        assert done.returncode == 0, done.stderr
        assert server.admin_url.partition("?")[2] in done.stdout
        with psycopg.connect(server.admin_url) as connection:
            names = {row[0] for row in connection.execute("SELECT datname FROM pg_database").fetchall()}
        assert names == {"postgres", "template0", "template1"}


def test_with_a_target_given_nothing_is_started(run: Run) -> None:
    with listening(nexmdm) as port:
        url = f"http://127.0.0.1:{port}"
        given = {"NEXMDM_BASE_URL": url, "NEXMDM_ADMIN_KEY": KEY, "NEXMDM_HMAC_SECRET": SECRET}
        said = "echo $NEXMDM_BASE_URL $NEXMDM_CHECKED $DATABASE_URL; exit 3"
        done = run("run", "--", "sh", "-c", said, **given)
    assert (done.returncode, done.stdout) == (3, f"{url} {url}\n"), done.stderr


def test_only_postgres_takes_no_target_and_makes_nothing_on_its_database(run: Run) -> None:
    target = {"NEXMDM_BASE_URL": "http://127.0.0.1:9", "DATABASE_URL": "postgresql://x@127.0.0.1:9/theirs"}
    done = run("run", "--only", "postgres", "--", "sh", "-c", "echo $DATABASE_URL", **target)
    assert done.returncode == 0, done.stderr
    assert "127.0.0.1" not in done.stdout


@pytest.mark.parametrize(
    "arguments, env, said",
    [
        (["run", "--", "no-such-command"], {}, "harness: command not found: no-such-command"),
        (["run", "--", "true"], {"NEXMDM_BACKEND_COMMAND": "gone"}, "harness: command not found: gone"),
        (["run", "--", "true"], {"NEXMDM_BASE_URL": "https://mdm.example.com"}, "harness: NEXMDM_ADMIN_KEY, NEXMDM_H"),
        (
            ["run", "--", "true"],
            {
                "NEXMDM_BASE_URL": "https://mdm.example.com",
                "NEXMDM_ADMIN_KEY": "x" * 16,
                "NEXMDM_HMAC_SECRET": "y" * 16,
            },
            "harness: NEXMDM_BASE_URL: host mdm.example.com looks like production",
        ),
        (
            ["run", "--", "true"],
            {"NEXMDM_BASE_URL": "http://127.0.0.1:9", "NEXMDM_ADMIN_KEY": KEY, "NEXMDM_HMAC_SECRET": SECRET},
            "harness: NEXMDM_BASE_URL: http://127.0.0.1:9 cannot be reached",
        ),
        (
            ["run", "--only", "postgres", "--", "true"],
            {"DATABASE_URL": "postgresql://db.example.com/nexmdm"},
            "harness: DATABASE_URL: host db.example.com looks like production",
        ),
        (["up"], {"NEXMDM_BASE_URL": "http://127.0.0.1:9"}, "harness: NEXMDM_BASE_URL: set, but `up` starts"),
        (
            ["up"],
            {"DATABASE_URL": "postgresql://postgres@127.0.0.1:9/postgres"},
            "harness: SELECT 1: connection failed:",
        ),
    ],
)
def test_trouble_is_one_clear_line_and_exit_code_2(
    run: Run, arguments: list[str], env: dict[str, str], said: str
) -> None:
    done = run(*arguments, **env)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("harness: NEXMDM_BASE_URL is set")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(said)


def test_a_command_is_needed_and_help_helps(run: Run) -> None:
    assert run("run").returncode == 2
    assert run("run", "--").returncode == 2
    assert run().returncode == 2
    for arguments in (["--help"], ["up", "--help"], ["run", "--help"]):
        done = run(*arguments)
        assert done.returncode == 0
        assert "stack" in done.stdout
