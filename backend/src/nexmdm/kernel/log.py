"""The log vocabulary and its form: a JSON object per line on stdout. It decides nowhere what is worth a line.

Every line has `ts, level, event, request_id, route`, and `subject` where an admin asks. The last three come from the
`Origin` of the running request or job.
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
from types import ModuleType
from typing import Any, Final, Self

import orjson
import uuid_utils

from nexmdm.kernel.log_sink import Kind, Sink

CountLost = Callable[[Counter[Kind]], None]


class Event(str):
    """The name of a log event. Each package defines its own in its `events` module, and each has a JSON Schema.

    kind: how early its lines are lost while nothing can be written; None: ordinary, and reserved at level ERROR.
    """

    __slots__ = ("kind",)
    kind: Kind | None

    def __new__(cls, name: str, kind: Kind | None = None) -> Self:
        made = super().__new__(cls, name)
        made.kind = kind or ("reserved" if name.startswith("sec.") else None)
        return made


def declared(module: ModuleType) -> tuple[Event, ...]:
    """The events that an `events` module defines."""
    return tuple(value for value in vars(module).values() if isinstance(value, Event))


SERVICE_LOG: Final = Event("service.log")  # a warning or error of a library, such as uvicorn
LOG_LOST: Final = Event("log.lost")


def new_id() -> str:
    """A UUIDv7: sortable by time, unique without asking anybody."""
    return str(uuid_utils.uuid7())


@dataclass(slots=True)
class Origin:
    """Whence a line comes. `scope` is a request's ASGI scope: its route is known only once the router has matched.

    subject: the admin who makes the request, once that is known.
    """

    request_id: str = field(default_factory=new_id)
    name: str = "server"
    scope: MutableMapping[str, Any] | None = None
    subject: str | None = None

    @property
    def route(self) -> str:
        """The path template of a request, `unmatched` for an unknown path, or the name of a job."""
        if self.scope is None:
            return self.name
        template = self.scope.get("nexmdm.route") or getattr(self.scope.get("route"), "path_format", None)
        return template or "unmatched"


_FORM: Final = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
_SERVER: Final = Origin()
origin: ContextVar[Origin] = ContextVar("origin", default=_SERVER)


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
    if source.subject is not None:
        line["subject"] = source.subject
    try:
        return orjson.dumps(line, default=str, option=_FORM)
    except TypeError:  # half of a surrogate pair, more than 64 bits: no reason to fail whoever logs it
        return orjson.dumps(line | {name: repr(value) for name, value in fields.items()}, option=_FORM)


def _kind(event: Event, name: str) -> Kind:
    return event.kind or ("reserved" if name == "ERROR" else "ordinary")


def _gap(lost: Counter[Kind]) -> bytes:
    return _rendered(LOG_LOST, "ERROR", {"lost": lost})


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
        _output.sink.take(_rendered(SERVICE_LOG, name, fields), _kind(SERVICE_LOG, name))
