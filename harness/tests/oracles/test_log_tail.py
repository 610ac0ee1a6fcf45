"""The tap on a log: marks, half-written lines, waiting, and lines that are no JSON.

It writes the file itself instead of starting a backend.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from harness.oracles.log_tail import LogLineError, LogTap
from harness.waiting import WaitTimeout


@pytest.fixture
def tap(tmp_path: Path) -> LogTap:
    return LogTap(tmp_path / "backend.log")


def write(tap: LogTap, *lines: dict[str, Any] | str, end: str = "\n") -> None:
    with tap.path.open("a") as file:
        for line in lines:
            file.write((line if isinstance(line, str) else json.dumps(line)) + end)


def test_a_mark_separates_before_and_after(tap: LogTap) -> None:
    assert tap.mark() == 0
    assert tap.since(0) == []
    write(tap, {"event": "a"}, {"event": "b"})
    mark = tap.mark()
    write(tap, {"event": "c", "text": "line\u2028separators and \u0085 are no line ends"})
    assert [line["event"] for line in tap.since(mark)] == ["c"]
    assert [line["event"] for line in tap.since(0)] == ["a", "b", "c"]


def test_a_half_written_line_is_left_for_later(tap: LogTap) -> None:
    write(tap, {"event": "a"})
    write(tap, '{"event": "b"', end="")
    mark = tap.mark()
    assert [line["event"] for line in tap.since(0)] == ["a"]
    write(tap, "}")
    assert [line["event"] for line in tap.since(mark)] == ["b"]


def test_a_mark_is_found_behind_a_very_long_half_line(tap: LogTap) -> None:
    write(tap, {"event": "a"})
    whole = tap.mark()
    write(tap, "x" * 200_000, end="")
    assert tap.mark() == whole


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "[1, 2]", '"text"', "", '{"a": 1} {"b": 2}'])
def test_a_line_that_is_no_json_object_is_an_error(tap: LogTap, line: str) -> None:
    write(tap, {"event": "a"}, line)
    with pytest.raises(LogLineError, match=r"backend.log: not a JSON object"):
        tap.since(0)
    with pytest.raises(LogLineError):
        tap.wait_for("never", since=0, within_s=0.05)


def test_the_error_shows_the_line_without_its_secrets(tap: LogTap) -> None:
    write(tap, "plain text with nxe_" + "a" * 43)
    with pytest.raises(LogLineError, match=r"plain text with \*\*\*"):
        tap.since(0)


def test_wait_for_finds_a_line_that_comes_later(tap: LogTap) -> None:
    write(tap, {"event": "heartbeat.ingest", "device_id": "d1"})
    later = threading.Timer(0.1, write, (tap, {"event": "heartbeat.ingest", "device_id": "d2", "status": "ok"}))
    later.start()
    found = tap.wait_for("heartbeat.ingest", since=0, device_id="d2")
    later.join()
    assert found["status"] == "ok"


def test_wait_for_ignores_what_stands_before_the_mark(tap: LogTap) -> None:
    write(tap, {"event": "register.success"})
    mark = tap.mark()
    write(tap, {"event": "sec.token.consume"})
    with pytest.raises(WaitTimeout, match=r"no log line register.success .*within 0.05 s; .*sec.token.consume"):
        tap.wait_for("register.success", since=mark, within_s=0.05)


@pytest.mark.parametrize("wanted", [{"status": 201}, {"missing": None}, {"status": "200"}])
def test_wait_for_insists_on_every_field(tap: LogTap, wanted: dict[str, Any]) -> None:
    write(tap, {"event": "http.request", "status": 200})
    assert tap.wait_for("http.request", since=0, within_s=0.05, status=200)
    with pytest.raises(WaitTimeout):
        tap.wait_for("http.request", since=0, within_s=0.05, **wanted)


def test_lines_for_one_request(tap: LogTap) -> None:
    write(
        tap, {"event": "a", "request_id": "r1"}, {"event": "b", "request_id": "r2"}, {"event": "c", "request_id": "r1"}
    )
    assert [line["event"] for line in tap.lines_for("r1")] == ["a", "c"]


def test_what_was_cut_on_purpose_is_told_from_whole_lines(tap: LogTap) -> None:
    write(tap, {"event": "a"}, '{"event": "b', {"event": "c"}, "[]")
    write(tap, '{"event": "not yet', end="")
    assert tap.salvage() == ([{"event": "a"}, {"event": "c"}], ['{"event": "b', "[]"])
