"""The log vocabulary and its one writer: a JSON object per line on stdout. It decides nowhere what is worth a line.

Every line has `ts, level, event, request_id, route`. The last two come from the `Origin` of the running request or job.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import orjson
import structlog
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
    DEVICE_RETIRE = "device.retire"
    APK_UPLOAD = "apk.upload"
    APK_DOWNLOAD = "apk.download"
    SCRIPT_RENDER = "script.render"
    METRICS_SCRAPE = "metrics.scrape"
    RETENTION_CLEANUP = "retention.cleanup"
    DEPENDENCY_UNAVAILABLE = "dependency.unavailable"
    DB_OPERATION = "db_operation"
    SERVICE_START = "service.start"
    SERVICE_STOP = "service.stop"
    SERVICE_LOG = "service.log"  # a warning or error of a library, such as uvicorn
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


_SERVER: Final = Origin()
origin: ContextVar[Origin] = ContextVar("origin", default=_SERVER)


def _stamp(_logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    source = origin.get()
    return {
        "ts": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": method.upper(),
        "event": line.pop("event"),
        "request_id": line.pop("request_id", None) or source.request_id,
        "route": source.route,
        **line,
    }


def emit(event: Event, level: str = "info", **fields: Any) -> None:
    """Write one line. `fields` are the event's own; a `request_id` among them overrides the origin's."""
    getattr(_logger, level)(str(event), **fields)


class _Bridge(logging.Handler):
    """Brings the warnings of libraries into the same stream; their lines would otherwise not be JSON."""

    def emit(self, record: logging.LogRecord) -> None:
        # The type of an exception, never its text: a driver may quote parameters.
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        level = "error" if record.levelno >= logging.ERROR else "warning"
        emit(Event.SERVICE_LOG, level, logger=record.name, message=record.getMessage()[:500], error=error)


def configure(level: str) -> None:
    """Send all lines of this process to stdout, one write(2) each, so that lines of several processes never mix."""
    structlog.configure(
        processors=[_stamp, structlog.processors.JSONRenderer(serializer=_dump)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.BytesLoggerFactory(os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING, force=True)


def _dump(line: Any, **_: Any) -> bytes:
    return orjson.dumps(line, default=str)


_logger = structlog.get_logger()
