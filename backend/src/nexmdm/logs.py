"""The log vocabulary and its one writer: a JSON object per line on stdout. It decides nowhere what is worth a line.

Every line has `ts, level, event, request_id, route`. The last two come from the `Origin` of the running request or job.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from io import FileIO
from select import PIPE_BUF
from threading import get_ident
from typing import Any, Final

import orjson
import uuid_utils


class Event(StrEnum):
    """Each has a JSON Schema of its fields in the contract; a new one is added in both places."""

    HTTP_REQUEST = "http.request"
    REGISTER_SUCCESS = "register.success"
    REGISTER_FAIL = "register.fail"
    HEARTBEAT_INGEST = "heartbeat.ingest"
    HEARTBEAT_DEDUP_HIT = "heartbeat.dedup_hit"
    DISPATCH_REQUEST = "dispatch.request"
    DISPATCH_SENT = "dispatch.sent"
    DISPATCH_RETRY = "dispatch.retry"
    DISPATCH_FAIL = "dispatch.fail"
    DISPATCH_EXPIRED = "dispatch.expired"
    DISPATCH_IDEMPOTENCY_HIT = "dispatch.idempotency_hit"
    ACTION_RESULT_INGEST = "action_result.ingest"
    ACTION_RESULT_REPLAY = "action_result.replay"
    TOKEN_CREATE = "sec.token.create"
    TOKEN_CONSUME = "sec.token.consume"
    TOKEN_REVOKE = "sec.token.revoke"
    TOKEN_EXPIRED = "sec.token.expired"
    TOKEN_RATELIMIT = "sec.token.ratelimit"
    AUTH_FAIL = "sec.auth.fail"
    AUTH_ALERT = "sec.auth.alert"
    DEVICE_RETIRE = "device.retire"
    APK_UPLOAD = "apk.upload"
    APK_DOWNLOAD = "apk.download"
    SCRIPT_RENDER = "script.render"
    METRICS_SCRAPE = "metrics.scrape"
    RETENTION_CLEANUP = "retention.cleanup"
    DEPENDENCY_UNAVAILABLE = "dependency.unavailable"
    DB_OPERATION = "db_operation"
    JOB_FAIL = "job.fail"
    SERVICE_START = "service.start"
    SERVICE_STOP = "service.stop"
    SERVICE_LOG = "service.log"  # a warning or error of a library, such as uvicorn
    CONNECTION_REFUSED = "connection.refused"
    INTERNAL_ERROR = "internal.error"


def new_id() -> str:
    """A UUIDv7: sortable by time, unique without asking anybody."""
    return str(uuid_utils.uuid7())


@dataclass(slots=True)
class Origin:
    """Whence a line comes. `scope` is a request's ASGI scope: its route is known only once the router has matched."""

    request_id: str = field(default_factory=new_id)
    name: str = "server"
    scope: MutableMapping[str, Any] | None = None

    @property
    def route(self) -> str:
        """The path template of a request, `unmatched` for an unknown path, or the name of a job."""
        if self.scope is None:
            return self.name
        template = self.scope.get("nexmdm.route") or getattr(self.scope.get("route"), "path", None)
        return template or "unmatched"


_FORM: Final = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
_SERVER: Final = Origin()
origin: ContextVar[Origin] = ContextVar("origin", default=_SERVER)


class _Sink:
    """Writes each line at once, or, while an event loop is being followed, those of one turn of it together.

    A write(2) for each line of a busy loop would cost more than all else about it. No write exceeds what a pipe takes
    whole (POSIX, PIPE_BUF), so lines of several processes never mix.
    """

    def __init__(self) -> None:
        self.threshold = logging.INFO
        self._file = FileIO(1, "wb", closefd=False)
        self._lines: list[bytes] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    def open(self, threshold: int) -> None:
        """Write to what is stdout now."""
        self.threshold, self._file = threshold, FileIO(os.dup(1), "wb")

    def follow(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Gather the lines of this loop, which runs in this thread; None: write what there is, and gather no more."""
        self._loop, self._thread = loop, get_ident()
        self._flush()

    def take(self, line: bytes) -> None:
        # Not get_running_loop(): up to Python 3.11 it asks the system for the process id each time.
        if self._loop is None or get_ident() != self._thread:
            self._file.write(line)
            return
        self._lines.append(line)
        if len(self._lines) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        piece = b""
        for line in lines:
            if piece and len(piece) + len(line) > PIPE_BUF:
                self._file.write(piece)
                piece = b""
            piece += line
        self._file.write(piece)


_LEVELS: Final = logging.getLevelNamesMapping()
_sink: Final = _Sink()


def configure(level: str) -> None:
    """Write the lines of this process, from `level` on."""
    _sink.open(_LEVELS[level.upper()])
    logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING, force=True)


@contextmanager
def gathered() -> Iterator[None]:
    """Within it the lines of one turn of the running event loop are written together."""
    _sink.follow(asyncio.get_running_loop())
    try:
        yield
    finally:
        _sink.follow(None)


def emit(event: Event, level: str = "info", **fields: Any) -> None:
    """Write one line. `fields` are the event's own; a `request_id` among them overrides the origin's."""
    name = level.upper()
    if _LEVELS[name] < _sink.threshold:
        return
    source = origin.get()
    line = {
        "ts": datetime.now(UTC),
        "level": name,
        "event": event,
        "request_id": fields.pop("request_id", None) or source.request_id,
        "route": source.route,
        **fields,
    }
    _sink.take(orjson.dumps(line, default=str, option=_FORM))


class _Bridge(logging.Handler):
    """Brings the warnings of libraries into the same stream; their lines would otherwise not be JSON."""

    def emit(self, record: logging.LogRecord) -> None:
        # The type of an exception, never its text: a driver may quote parameters.
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        level = "error" if record.levelno >= logging.ERROR else "warning"
        emit(Event.SERVICE_LOG, level, logger=record.name, message=record.getMessage()[:500], error=error)
