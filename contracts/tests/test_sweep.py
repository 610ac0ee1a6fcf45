"""A bad log line or a secret that the service left behind fails the run; what was not shown never passes."""

import json
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from contracts.sweep import Sweep
from harness.postgres.server import Postgres
from harness.settings import Target
from harness.verdict.thresholds import Status

TOKEN = "nxe_" + "A" * 43
TARGET = Target("http://127.0.0.1:1", "k" * 16, "s" * 16)
LINE = {
    "ts": "2026-11-20T01:02:03Z",
    "level": "INFO",
    "event": "http.request",
    "request_id": "r-1",
    "route": "/v1/devices",
    "method": "GET",
    "status": 200,
    "duration_ms": 1.5,
    "ip": "127.0.0.1",
}


def statuses(target: Target | None, folder: Path, *lines: object) -> dict[str, Status]:
    sweep = Sweep(target, folder)
    if target and target.log_file:
        with target.log_file.open("a") as log:
            log.writelines(json.dumps(line) + "\n" for line in lines)
    return {check.id: check.status for check in sweep.checks()}


@pytest.mark.parametrize(
    "line,name",
    [
        pytest.param({**LINE, "status": "200"}, "log-lines", id="a wrong type"),
        pytest.param({**LINE, "event": "no.such"}, "log-lines", id="an unknown event"),
        pytest.param({**LINE, "ip": TOKEN}, "log-secrets", id="a token"),
    ],
)
def test_a_bad_line_is_found(tmp_path: Path, line: object, name: str) -> None:
    target = replace(TARGET, log_file=tmp_path / "backend.log")
    assert statuses(target, tmp_path / "run", LINE)["log-lines"] is Status.PASS
    assert statuses(target, tmp_path / "run", LINE, line)[name] is Status.FAIL


def test_only_what_the_run_caused_is_judged(tmp_path: Path) -> None:
    log = tmp_path / "backend.log"
    log.write_text('{"event": "from before"}\n')
    assert statuses(replace(TARGET, log_file=log), tmp_path / "run", LINE)["log-lines"] is Status.PASS


def test_a_log_without_a_line_proves_nothing(tmp_path: Path) -> None:
    found = statuses(replace(TARGET, log_file=tmp_path / "backend.log"), tmp_path / "run")
    assert found["log-lines"] is Status.INCONCLUSIVE


def test_a_token_in_a_file_or_a_table_is_found(tmp_path: Path) -> None:
    (tmp_path / "raw.txt").write_text(f"Bearer {TOKEN}")
    assert statuses(TARGET, tmp_path)["file-secrets"] is Status.FAIL
    with Postgres.start() as postgres:
        url = postgres.clone("swept")
        assert statuses(replace(TARGET, database_url=url), tmp_path)["table-secrets"] is Status.PASS
        with psycopg.connect(url) as connection:
            connection.execute("create table devices (token text)")
            connection.execute("insert into devices values (%s)", (TOKEN,))
        assert statuses(replace(TARGET, database_url=url), tmp_path)["table-secrets"] is Status.FAIL


def test_what_was_not_given_is_disabled(tmp_path: Path) -> None:
    (tmp_path / "fine.txt").write_text("fine")
    disabled = {"log-lines", "log-secrets", "table-secrets"}
    assert statuses(TARGET, tmp_path) == dict.fromkeys(disabled, Status.DISABLED) | {"file-secrets": Status.PASS}
    assert statuses(None, tmp_path) == {}
