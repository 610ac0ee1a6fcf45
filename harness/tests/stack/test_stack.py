"""The whole stack with the stand-in backend: what it makes, what it shares, what it takes down when a part fails.

It checks no answer of the API.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from harness.fcm.server import FcmControl, FcmError
from harness.postgres.server import Postgres
from harness.processes.child import CommandNotFoundError
from harness.provider.server import ProviderControl
from harness.settings import SECRETS, Target
from harness.stack.backend import BackendError
from harness.stack.stack import Stack


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres.start() as started:
        yield started


@pytest.fixture(autouse=True)
def _stand_in(stand_in: Path) -> None:
    """Every stack here starts the stand-in."""


def environment(stack: Stack) -> dict[str, str]:
    return psutil.Process(stack.backend.pid).environ()


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children() if "guard.py" not in " ".join(child.cmdline())}


def test_a_stack_of_its_own_is_complete_and_gone_afterwards(tmp_path: Path) -> None:
    before = children()
    with Stack.start(workers=2, log_dir=tmp_path) as stack:
        target = stack.target
        assert target.capabilities == {"database", "logs", "fcm", "process"}
        assert Target.from_env(target.as_env()) == target
        assert target.log_file == tmp_path / "backend.log" == stack.logs.path
        assert FcmControl(str(target.fcm_url)).inbox() == []
        with psycopg.connect(str(target.database_url)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        seen = environment(stack)
        assert seen["NEXMDM_WORKERS"] == "2"
        assert seen["NEXMDM_LIMIT_TOKEN_CREATE"] == "1000000/60"
        assert seen["NEXMDM_DATABASE_URL"] == stack.postgres.app_url(str(target.database_url)) != target.database_url
        assert stack.owner["NEXMDM_DATABASE_URL"] == target.database_url
        account = json.loads(seen["NEXMDM_FIREBASE_SERVICE_ACCOUNT_JSON"])
        assert account["token_uri"] == f"{target.fcm_url}/token"
        assert {target.admin_key, target.hmac_secret, account["private_key"]} <= SECRETS.known()
        assert len(children() - before) == 3
    assert children() == before
    stack.stop()
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "backend.log",
        "backend.log.stderr",
        "fcm.log",
        "postgres.log",
        "stand-in",
    ]


@pytest.mark.slow
def test_a_provider_is_started_where_one_is_asked_for(server: Postgres) -> None:
    with Stack.start(postgres=server) as without:
        assert without.provider is None
        assert "NEXMDM_PROVIDER_URL" not in environment(without)
    with Stack.start(postgres=server, provider=True) as stack:
        assert stack.provider is not None
        assert "provider" in stack.target.capabilities
        seen = environment(stack)
        assert (seen["NEXMDM_PROVIDER_URL"], seen["NEXMDM_PROVIDER_TOKEN"]) == (
            stack.provider.url,
            stack.provider.token,
        )
        assert stack.provider.token in SECRETS.known()
        assert ProviderControl(str(stack.target.provider_control_url)).calls() == []
    assert "provider.log" in {file.name for file in stack.logs.path.parent.iterdir()}


def test_two_stacks_on_one_server_share_nothing_else(server: Postgres) -> None:
    with Stack.start(postgres=server) as first, Stack.start(postgres=server) as second:
        for fact in ("base_url", "admin_key", "hmac_secret", "database_url", "log_file", "fcm_url", "backend_pid"):
            assert getattr(first.target, fact) != getattr(second.target, fact)
        names = first.database, second.database
    with psycopg.connect(server.admin_url) as connection:
        left = {row[0] for row in connection.execute("SELECT datname FROM pg_database").fetchall()}
    assert not left & set(names)


def test_a_given_server_is_used_and_left_clean(server: Postgres) -> None:
    before = children()
    with Postgres.attach(server.admin_url) as given, Stack.start(postgres=given) as stack:
        assert not stack.postgres.owned
        assert len(children() - before) == 2
    with psycopg.connect(server.admin_url) as connection:
        left = {row[0] for row in connection.execute("SELECT datname FROM pg_database").fetchall()}
    assert not [name for name in left if name.startswith("nexmdm_") and name != server.template_name]


def test_settings_can_be_replaced_and_the_target_follows(server: Postgres) -> None:
    mine = {"NEXMDM_ADMIN_KEY": "an-admin-key-of-my-own", "NEXMDM_LIMIT_TOKEN_CREATE": "2/60"}
    with Stack.start(env=mine, postgres=server) as stack:
        assert stack.target.admin_key == "an-admin-key-of-my-own"
        assert environment(stack)["NEXMDM_LIMIT_TOKEN_CREATE"] == "2/60"


def test_replicas_share_database_secrets_and_log(server: Postgres) -> None:
    with Stack.start(postgres=server, replicas=2) as stack:
        first, second = stack.backends
        assert first.base_url != second.base_url
        environments = [psutil.Process(backend.pid).environ() for backend in (first, second)]
        assert environments[0]["NEXMDM_DATABASE_URL"] == environments[1]["NEXMDM_DATABASE_URL"]
        starts = [line["pid"] for line in stack.logs.since(0) if line["event"] == "service.start"]
        assert sorted(starts) == sorted([first.pid, second.pid])


def test_commands_run_with_the_backends_settings(server: Postgres) -> None:
    with Stack.start(postgres=server) as stack:
        code, said = stack.run("retention", "run")
        assert (code, json.loads(said)) == (0, {"argv": ["retention", "run"], "database": True})
        assert stack.run("migrate", env={"STAND_IN": "die_on_migrate"}) == (1, "no such revision\n")


@pytest.mark.parametrize(
    "mode, reason",
    [("die", "ended with exit code 1"), ("never_ready", "within 0.5 s")],
)
def test_when_the_backend_fails_the_rest_is_taken_down(server: Postgres, mode: str, reason: str) -> None:
    before = children()
    with pytest.raises(BackendError, match=reason):
        Stack.start(env={"STAND_IN": mode}, postgres=server, ready_within_s=0.5 if mode == "never_ready" else 20)
    assert children() == before


def test_when_the_migration_fails_the_rest_is_taken_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text('#!/bin/sh\necho "no such revision" >&2\nexit 3\n')
    broken.chmod(0o755)
    monkeypatch.setenv("NEXMDM_BACKEND_COMMAND", str(broken))
    before = children()
    with pytest.raises(BackendError, match=r"migrate` ended with exit code 3\nno such revision"):
        Stack.start()
    assert children() == before


def test_without_a_backend_command_the_rest_is_taken_down(server: Postgres) -> None:
    before = children()
    with pytest.raises(CommandNotFoundError, match="no-such-command"):
        Stack.start(postgres=server, command="no-such-command")
    assert children() == before


def test_fcm_can_go_and_come_back_under_a_running_stack(server: Postgres) -> None:
    with Stack.start(postgres=server) as stack:
        stack.fcm.kill()
        with pytest.raises(FcmError):
            stack.fcm.control.inbox()
        stack.fcm.restart()
        assert FcmControl(str(stack.target.fcm_url)).inbox() == []
