"""The log vocabulary and its form: a JSON object per line on stdout. It decides nowhere what is worth a line.

Every line has `ts, level, event, request_id, route`. The last two come from the `Origin` of the running request or job.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections import Counter
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import orjson
import uuid_utils

from nexmdm.kernel.log_sink import Kind, Sink

CountLost = Callable[[Counter[Kind]], None]


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
    FCM_TOKEN_MOVED = "device.fcm_token_moved"
    DEVICE_BODY_REFUSED = "device.body_refused"
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
    LOG_LOST = "log.lost"


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


# What is lost first while nothing can be written. Of the others `sec.*` and whatever has level ERROR are lost last.
_BULK: Final = {
    Event.HTTP_REQUEST,  # at each level: a 5xx has a line of its cause beside it, or a metric
    Event.HEARTBEAT_INGEST,
    Event.HEARTBEAT_DEDUP_HIT,
    Event.DB_OPERATION,
}
_KINDS: Final[dict[Event, Kind]] = {
    event: "bulk" if event in _BULK else "reserved" for event in Event if event in _BULK or event.startswith("sec.")
}
_LEVELS: Final = logging.getLevelNamesMapping()


def _rendered(event: Event, name: str, fields: dict[str, Any]) -> bytes:
    source = origin.get()
    line = {
        "ts": datetime.now(UTC),
        "level": name,
        "event": event,
        "request_id": fields.pop("request_id", None) or source.request_id,
        "route": source.route,
        **fields,
    }
    try:
        return orjson.dumps(line, default=str, option=_FORM)
    except TypeError:  # half of a surrogate pair, more than 64 bits: no reason to fail whoever logs it
        return orjson.dumps(line | {name: repr(value) for name, value in fields.items()}, option=_FORM)


def _kind(event: Event, name: str) -> Kind:
    return _KINDS.get(event) or ("reserved" if name == "ERROR" else "ordinary")


def _gap(lost: Counter[Kind]) -> bytes:
    return _rendered(Event.LOG_LOST, "ERROR", {"lost": lost})


class _Output:
    """Where the lines of this process go, and from which level on."""

    def __init__(self) -> None:
        self.threshold = logging.INFO
        self.sink = Sink(_gap)
        self.count: CountLost | None = None


_output: Final = _Output()
os.register_at_fork(after_in_child=_output.sink.begin)


def configure(level: str, buffer_bytes: int, count: CountLost) -> None:
    """Write the lines of this process, from `level` on, to what is stdout now. `count` hears what was lost."""
    try:
        file = os.dup(1)
    except OSError:  # the service was started without one
        file = -1
    _output.threshold, _output.count = _LEVELS[level.upper()], count
    _output.sink.open(file, buffer_bytes)
    logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING, force=True)
    atexit.register(flush)


def flush() -> None:
    """Have what waits written, in bounded time: for the end of a process."""
    _output.sink.flush()


def emit(event: Event, level: str = "info", **fields: Any) -> None:
    """Write one line. `fields` are the event's own; a `request_id` among them overrides the origin's.

    It never waits and never fails: while stdout takes nothing, lines are lost and counted.
    """
    name = level.upper()
    if _LEVELS[name] < _output.threshold:
        return
    none_lost = _output.sink.take(_rendered(event, name, fields), _kind(event, name))
    if not none_lost and _output.count is not None:
        _output.count(_output.sink.lost())


class _Bridge(logging.Handler):
    """Brings the warnings of libraries into the same stream; their lines would otherwise not be JSON."""

    def emit(self, record: logging.LogRecord) -> None:
        # The type of an exception, never its text: a driver may quote parameters.
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        name = "ERROR" if record.levelno >= logging.ERROR else "WARNING"
        if _LEVELS[name] < _output.threshold:
            return
        fields = {"logger": record.name, "message": record.getMessage()[:500], "error": error}
        # Not by `emit`: a finalizer may log while its thread holds the lock of the metrics. The next line counts.
        _output.sink.take(_rendered(Event.SERVICE_LOG, name, fields), _kind(Event.SERVICE_LOG, name))
