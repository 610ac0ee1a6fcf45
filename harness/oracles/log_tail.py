"""A tap on the backend's JSON log file: mark a place, read what came after it, wait for a line.

It judges no line against its schema: it only insists that every line is one JSON object.
Safe under gevent and threads: it holds no open file and no state besides the path.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.settings import SECRETS
from harness.waiting import WaitTimeout, eventually

_BLOCK = 65536


class LogLineError(Exception):
    """A line of the log is not one JSON object. The message shows the line, secrets masked."""


class LogTap:
    """Reads a log file that another process appends to."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def mark(self) -> int:
        """The place after the last complete line: give it to `since` or `wait_for`."""
        if not self.path.exists():
            return 0
        with self.path.open("rb") as file:
            end = file.seek(0, 2)
            while end > 0:
                start = max(0, end - _BLOCK)
                file.seek(start)
                newline = file.read(end - start).rfind(b"\n")
                if newline >= 0:
                    return start + newline + 1
                end = start
        return 0

    def since(self, mark: int) -> list[dict[str, Any]]:
        """The complete lines after `mark`, oldest first. A half-written last line is left for the next call."""
        return [self._parse(line) for line in self._read(mark)[0]]

    def salvage(self, mark: int = 0) -> tuple[list[dict[str, Any]], list[str]]:
        """Of a log that may be broken: the complete lines after `mark` that are JSON objects, and the others."""
        lines: list[dict[str, Any]] = []
        fragments: list[str] = []
        for text in self._read(mark)[0]:
            try:
                lines.append(self._parse(text))
            except LogLineError:
                fragments.append(text)
        return lines, fragments

    def wait_for(self, event: str, *, since: int, within_s: float = 5.0, **fields: Any) -> dict[str, Any]:
        """The first line after `since` with this event and these field values; WaitTimeout lists the events seen."""

        seen: list[str] = []
        place = since

        def found() -> dict[str, Any] | None:
            nonlocal place
            lines, place = self._read(place)
            for line in map(self._parse, lines):
                if matches(line, event, fields):
                    return line
                seen.append(str(line.get("event")))
            return None

        try:
            line = eventually(found, within_s)
        except WaitTimeout:
            wanted = SECRETS.mask(f"{event} {fields}" if fields else event)
            raise WaitTimeout(f"no log line {wanted} within {within_s:g} s; events since: {seen[-30:]}") from None
        assert line is not None
        return line

    def lines_for(self, request_id: str) -> list[dict[str, Any]]:
        """Every line of the file with this request_id, oldest first."""
        return [line for line in self.since(0) if line.get("request_id") == request_id]

    def _read(self, mark: int) -> tuple[list[str], int]:
        """The complete lines after `mark`, and the place behind the last of them."""
        if not self.path.exists():
            return [], mark
        with self.path.open("rb") as file:
            file.seek(mark)
            complete, newline, _ = file.read().rpartition(b"\n")
        if not newline:
            return [], mark
        return complete.decode(errors="replace").split("\n"), mark + len(complete) + 1

    def _parse(self, line: str) -> dict[str, Any]:
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise LogLineError(f"{self.path.name}: not a JSON object: {SECRETS.mask(line)[:500]!r}")
        return value


def matches(line: dict[str, Any], event: str, fields: dict[str, Any]) -> bool:
    """Whether the line has this event and exactly these values in these fields."""
    return line.get("event") == event and all(name in line and line[name] == want for name, want in fields.items())
