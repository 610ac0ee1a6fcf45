"""Each event has its place in the order in which lines are lost; each process writes its own lines and ends in time."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections import Counter
from typing import Any, Final

import pytest

from nexmdm.fleet import events as fleet_events
from nexmdm.fleet.events import HEARTBEAT_DEDUP_HIT, HEARTBEAT_INGEST, REGISTER_SUCCESS, TOKEN_CREATE
from nexmdm.http import events as http_events
from nexmdm.http.events import AUTH_FAIL, HTTP_REQUEST
from nexmdm.kernel import events as kernel_events
from nexmdm.kernel import log
from nexmdm.kernel.events import DB_OPERATION, DEPENDENCY_AWAY
from nexmdm.kernel.log import SERVICE_LOG, Event, emit
from nexmdm.kernel.log_sink import Kind
from nexmdm.server.events import SERVICE_START

WITHIN_S: Final = 20.0


class Taken:
    """Stands in for the sink: what it was given, and how many lines it says were lost."""

    def __init__(self) -> None:
        self.lines: list[tuple[dict[str, Any], Kind]] = []
        self.full = False

    def take(self, line: bytes, kind: Kind) -> bool:
        self.lines.append((json.loads(line), kind))
        return not self.full

    def lost(self) -> Counter[Kind]:
        self.full = False
        return Counter({"bulk": 3})


@pytest.fixture
def counted() -> list[Counter[Kind]]:
    return []


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch, counted: list[Counter[Kind]]) -> Taken:
    sink, output = Taken(), log._Output()
    output.sink = sink  # type: ignore[assignment]  # these two methods are all that is asked of it
    output.count = counted.append
    monkeypatch.setattr(log, "_output", output)
    return sink


@pytest.mark.parametrize(
    "event,level,kind",
    [
        (HTTP_REQUEST, "info", "bulk"),
        (HTTP_REQUEST, "error", "bulk"),
        (HEARTBEAT_INGEST, "info", "bulk"),
        (HEARTBEAT_DEDUP_HIT, "info", "bulk"),
        (DB_OPERATION, "info", "bulk"),
        (REGISTER_SUCCESS, "info", "ordinary"),
        (SERVICE_LOG, "warning", "ordinary"),
        (SERVICE_LOG, "error", "reserved"),
        (DEPENDENCY_AWAY, "error", "reserved"),
        (TOKEN_CREATE, "info", "reserved"),
        (AUTH_FAIL, "warning", "reserved"),
    ],
)
def test_what_a_line_is_worth(taken: Taken, event: Event, level: str, kind: Kind) -> None:
    emit(event, level)
    assert [found for _, found in taken.lines] == [kind]


def test_every_event_of_security_is_lost_last(taken: Taken) -> None:
    known = [*vars(fleet_events).values(), *vars(http_events).values(), *vars(kernel_events).values()]
    security = [event for event in known if isinstance(event, Event) and event.startswith("sec.")]
    for event in security:
        emit(event)
    assert len(security) >= 7
    assert {kind for _, kind in taken.lines} == {"reserved"}


def test_lost_lines_are_counted(taken: Taken, counted: list[Counter[Kind]]) -> None:
    emit(HTTP_REQUEST)
    assert counted == []
    taken.full = True
    emit(HTTP_REQUEST)
    emit(HTTP_REQUEST)
    assert counted == [{"bulk": 3}]


def test_what_a_library_logs_is_counted_with_the_next_line(taken: Taken, counted: list[Counter[Kind]]) -> None:
    taken.full = True
    record = logging.LogRecord("library", logging.WARNING, "file", 1, "it %s", ("broke",), None)
    log._Bridge().emit(record)
    assert taken.lines[0][0]["message"] == "it broke"
    assert counted == [], "it may come from a finalizer, in the middle of a metric"
    emit(SERVICE_START)
    assert counted == [{"bulk": 3}]


def test_a_level_below_the_threshold_is_not_written(taken: Taken) -> None:
    emit(DB_OPERATION, "debug", number=1)
    assert taken.lines == []
    log._output.threshold = 0
    emit(DB_OPERATION, "debug", number=2)
    assert [line["number"] for line, _ in taken.lines] == [2]


@pytest.mark.parametrize("value", ["\ud800", 2**64, {"name": "\udfff"}])
def test_what_is_no_json_fails_nobody(taken: Taken, value: object) -> None:
    emit(SERVICE_LOG, message=value, request_id="r-1")
    assert taken.lines[0][0]["message"] == repr(value)
    assert taken.lines[0][0]["request_id"] == "r-1"


def run(program: str, *, shell: str = 'exec "$@"') -> subprocess.CompletedProcess[bytes]:
    prelude = "import os, signal\nfrom nexmdm.kernel.log import SERVICE_LOG, configure, emit, flush\n"
    configured = 'configure("info", 65536, lambda lost: None)\n'
    command = ["/bin/sh", "-c", shell, "sh", sys.executable, "-c", prelude + configured + program]
    return subprocess.run(command, capture_output=True, timeout=WITHIN_S, check=False)


def said(ended: subprocess.CompletedProcess[bytes]) -> list[Any]:
    assert ended.returncode == 0, ended.stderr.decode()
    return [json.loads(line)["number"] for line in ended.stdout.splitlines()]


def test_a_child_writes_its_own_lines_and_no_others() -> None:
    ended = run(
        """
emit(SERVICE_LOG, number="parent")
for number in range(3):
    if not (child := os.fork()):
        emit(SERVICE_LOG, number=f"child {number}")
        flush()
        os._exit(0)
    os.waitpid(child, 0)
emit(SERVICE_LOG, number="last")
"""
    )
    assert sorted(said(ended)) == ["child 0", "child 1", "child 2", "last", "parent"]


def test_a_signal_that_is_waited_for_reaches_the_main_thread() -> None:
    ended = run(
        """
emit(SERVICE_LOG, number=1)
flush()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
os.kill(os.getpid(), signal.SIGTERM)
signal.sigwait({signal.SIGTERM})
emit(SERVICE_LOG, number=2)
"""
    )
    assert said(ended) == [1, 2]


@pytest.mark.parametrize("where", [">&-", ">/dev/full"])
def test_a_stdout_that_takes_nothing_fails_nobody(where: str) -> None:
    ended = run("for _ in range(2000): emit(SERVICE_LOG, number=1)", shell=f'exec "$@" {where}')
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.slow
@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
def test_a_stderr_that_takes_nothing_changes_no_exit_code(where: str) -> None:
    command = ["/bin/sh", "-c", f'exec "$@" {where}', "sh", sys.executable, "-m", "nexmdm", "serve"]
    assert subprocess.run(command, env={}, check=False, timeout=WITHIN_S).returncode == 2
