"""A missing, repeated or wrong access line, and a missing domain line, must fail the case."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from acceptance.system.api import Judged
from acceptance.system.logs import Logs
from harness.http.client import Answer
from harness.oracles.log_tail import LogTap
from harness.waiting import WaitTimeout

ANSWER = Answer(200, {}, b"", 1.0, "r-1")
ACCESS = {"event": "http.request", "request_id": "r-1", "route": "/x", "method": "GET", "status": 200}


def logs(folder: Path, *lines: dict[str, Any]) -> Logs:
    """The log of a case that has seen one answer."""
    file = folder / "log"
    file.touch()
    api: Any = SimpleNamespace(judged=[Judged("getX", "GET", "/x", ANSWER)])
    found = Logs(LogTap(file), api)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return found


def test_one_access_line_per_request_is_complete(tmp_path: Path) -> None:
    assert logs(tmp_path, ACCESS, {**ACCESS, "event": "db_operation"}).complete()


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [{**ACCESS, "request_id": "r-2"}],
        [{**ACCESS, "status": 500}],
        [{**ACCESS, "route": "/x/7"}],
        [{**ACCESS, "method": "POST"}],
        [{**ACCESS, "event": "db_operation"}],
        [ACCESS, ACCESS],
    ],
)
def test_a_missing_wrong_or_repeated_access_line_fails(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    with pytest.raises(AssertionError, match=r"http.request"):
        logs(tmp_path, *lines).complete()


def test_the_awaited_line_must_come(tmp_path: Path) -> None:
    found = logs(tmp_path, {**ACCESS, "event": "heartbeat.ingest", "device_id": "d"})
    found.patience_s = 0.05
    assert found.expect(ANSWER, "heartbeat.ingest", device_id="d")
    with pytest.raises(WaitTimeout, match=r"no log line register.success"):
        found.expect(ANSWER, "register.success")
    with pytest.raises(WaitTimeout, match="no log line"):
        found.expect(ANSWER, "heartbeat.ingest", device_id="e")
