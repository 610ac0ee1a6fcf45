"""JSON-RPC 2.0 over HTTP: one call at its method's path, or calls and batches of calls at `/api/nfs`.

Credentials, zone, framing and overload are HTTP statuses; everything known once the body has been read is HTTP 200.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Final, TypeVar

import orjson
from fastapi import Request, Response
from pydantic import TypeAdapter, ValidationError

from nexmdm.http.access_log import where_raised
from nexmdm.http.events import UNHANDLED_EXCEPTION
from nexmdm.http.json_body import field_errors, read_limited, require_media_type
from nexmdm.http.types import Shape
from nexmdm.kernel.database import is_unavailable, report_outage
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import Problem
from nexmdm.platform import metrics
from nexmdm.platform.auth import Caller
from nexmdm.platform.call import Call
from nexmdm.platform.connector import BackendAwayError
from nexmdm.platform.events import RPC
from nexmdm.platform.object_store import StoreAwayError
from nexmdm.platform.rpc_errors import (
    BACKEND_UNAVAILABLE,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    IS_A_DIRECTORY,
    METHOD_NOT_FOUND,
    MOUNT_CHANGED,
    NOT_A_DIRECTORY,
    PARSE_ERROR,
    QUOTA_EXCEEDED,
    TOO_LARGE,
    ZONE_TERMINATING,
    RpcError,
)
from nexmdm.platform.state import platform
from nexmdm.platform.types import PART_BYTES
from nexmdm.platform.zone_row import (
    BlockedPathError,
    QuotaExceededError,
    ZoneEndsError,
)

MOST_CALLS: Final = 100  # in a batch
RESULT: Final = "result"
_MEMBERS: Final = {"jsonrpc", "method", "id", "params"}
_LARGE: Final = 2**20  # what takes the event loop longer to parse than a hop to a thread
MOST_OF_ID: Final = 256  # characters
SAFE_NUMBER: Final = 2**53  # the ids that every client can tell apart
_MOST_MEMBERS: Final = 64  # of an object within the params
_MOST_OF_BATCH: Final = 2 * PART_BYTES  # of contents in the answer to a batch
T = TypeVar("T")
_BLOCKED: Final = {"not_a_directory": NOT_A_DIRECTORY, "is_a_directory": IS_A_DIRECTORY, "mounted": MOUNT_CHANGED}


class Method:
    """A method. `shape`: its params; in an array they stand in the order of its fields. `alias`: another name."""

    def __init__(
        self,
        name: str,
        operation_id: str,
        shape: type[Shape],
        handle: Callable[[Call, Any], Awaitable[Any]],
        *,
        brick: str,
        alias: str | None = None,
    ) -> None:
        self.name, self.operation_id, self.shape, self.brick, self.alias = name, operation_id, shape, brick, alias
        self.handle = handle
        self._adapter: TypeAdapter[Shape] = TypeAdapter(shape)
        self._fields = list(shape.model_fields)

    def parse(self, params: object) -> Shape:
        """The params. RpcError: `invalid_params`, with what is wrong, never what was sent."""
        if isinstance(params, list):
            if len(params) > len(self._fields):
                raise RpcError(INVALID_PARAMS, errors=[])
            params = dict(zip(self._fields, params, strict=False))
        if not isinstance(params, dict) or _is_crowded(params, len(self._fields)):
            raise RpcError(INVALID_PARAMS, errors=[])
        try:
            return self._adapter.validate_python(params)
        except ValidationError as error:
            errors = field_errors(error, "/params", frozenset(self._fields))
            raise RpcError(INVALID_PARAMS, errors=errors) from None


def _is_crowded(params: dict[str, object], most: int) -> bool:
    """Whether there are more members than any method has: to name each of a million would take seconds."""
    return len(params) > most or any(
        isinstance(value, dict | list) and len(value) > _MOST_MEMBERS for value in params.values()
    )


class Methods:
    """The methods by each of their names."""

    def __init__(self, methods: Sequence[Method]) -> None:
        self.all = methods
        self._by_name = {name: method for method in methods for name in (method.name, method.alias) if name}

    def find(self, name: object) -> Method | None:
        return self._by_name.get(name) if isinstance(name, str) else None

    async def answer_one(self, request: Request, caller: Caller, name: str) -> Response:
        """Answer the call in the body, of the method that the URL names."""
        sent = await _body(request)
        if isinstance(sent, RpcError):
            return _response(_failure(None, sent))
        if isinstance(sent, dict) and "method" in sent and self.find(sent["method"]) is not self.find(name):
            return _response(_failure(_id_of(sent), RpcError(INVALID_REQUEST)))
        if isinstance(sent, dict):
            sent = {**sent, "method": name}
        return _response(await self._answer(Call(caller, platform(request)), sent))

    async def answer_any(self, request: Request, caller: Caller) -> Response:
        """Answer the call or the batch of calls in the body, in order, each in a transaction of its own."""
        sent = await _body(request)
        if isinstance(sent, RpcError):
            return _response(_failure(None, sent))
        call = Call(caller, platform(request))
        if not isinstance(sent, list):
            return _response(await self._answer(call, sent))
        if not sent or len(sent) > MOST_CALLS:
            return _response(_failure(None, RpcError(INVALID_REQUEST)))
        first, *rest = sent
        answers, room = [await self._answer(call, first)], _MOST_OF_BATCH
        for each in rest:
            room -= _content_size(answers[-1])
            answer = await self._answer_after_others(call, each)
            if answer is not None and _content_size(answer) > room:
                answer = _failure(answer["id"], RpcError(TOO_LARGE, limit=_MOST_OF_BATCH))
            answers.append(answer)
        return _response([answer for answer in answers if answer is not None] or None)

    async def _answer_after_others(self, call: Call, sent: object) -> dict[str, Any] | None:
        """The answer to a later call of a batch: no HTTP status may hide what the calls before it have done."""
        try:
            return await self._answer(call, sent)
        except Exception as error:  # noqa: BLE001 - raised again unless it is an outage
            if not isinstance(error, Problem):
                report_outage(error)
            has_id = isinstance(sent, dict) and "id" in sent
            return _failure(_id_of(sent), RpcError(BACKEND_UNAVAILABLE)) if has_id else None

    async def _answer(self, call: Call, sent: object) -> dict[str, Any] | None:
        """The answer to one call; None to a notification."""
        if not isinstance(sent, dict) or sent.get("jsonrpc") != "2.0" or not isinstance(sent.get("method"), str):
            return _failure(_id_of(sent), RpcError(INVALID_REQUEST))
        if sent.keys() - _MEMBERS or not _is_id(sent.get("id")) or not isinstance(sent.get("params", {}), dict | list):
            return _failure(_id_of(sent), RpcError(INVALID_REQUEST))
        method = self.find(sent["method"])
        started, outcome = perf_counter(), RESULT
        name = method.name if method else "unknown"
        try:
            result = await _perform(method, call, sent.get("params", {}))
            answer = {"jsonrpc": "2.0", RESULT: result, "id": sent.get("id")}
        except RpcError as error:
            outcome = error.kind.code
            answer = _failure(sent.get("id"), error)
        elapsed_s = perf_counter() - started
        metrics.rpc_calls.labels(name, outcome).inc()
        metrics.rpc_duration.labels(name).observe(elapsed_s)
        emit(RPC, zone_id=call.zone_id, method=name, outcome=outcome, latency_ms=round(elapsed_s * 1000, 3))
        return answer if "id" in sent else None


async def _perform(method: Method | None, call: Call, params: object) -> Any:
    """The result. RpcError; what says that the database is away is raised on, and becomes a 503."""
    if method is None:
        raise RpcError(METHOD_NOT_FOUND)
    try:
        return await method.handle(replace(call, brick=method.brick), method.parse(params))
    except (RpcError, Problem):
        raise
    except ZoneEndsError:
        raise RpcError(ZONE_TERMINATING) from None
    except QuotaExceededError as refused:
        raise RpcError(QUOTA_EXCEEDED, limit=refused.limit) from None
    except BlockedPathError as refused:
        raise RpcError(_BLOCKED[refused.reason]) from None
    except StoreAwayError:
        raise RpcError(BACKEND_UNAVAILABLE) from None
    except BackendAwayError as away:
        raise RpcError(BACKEND_UNAVAILABLE, reason=away.reason) from None
    except Exception as error:
        if is_unavailable(error):
            raise
        emit(UNHANDLED_EXCEPTION, "error", error=where_raised(error))
        raise RpcError(INTERNAL_ERROR) from None


async def aside(size: int, work: Callable[[], T]) -> T:
    """Do what takes long for so many bytes, in a thread where they are many."""
    return work() if size < _LARGE else await asyncio.to_thread(work)


def _content_size(answer: dict[str, Any] | None) -> int:
    """How many characters of base64 an answer holds."""
    result = (answer or {}).get(RESULT)
    content = result.get("content", result) if isinstance(result, dict) else {}
    return len(content.get("data", "")) if isinstance(content, dict) else 0


async def _body(request: Request) -> Any:
    """What the body says, or the RpcError of one that is no JSON. Problem: 413, 415."""
    require_media_type(request, "application/json")
    raw = await read_limited(request, platform(request).settings.platform_rpc_bytes)
    try:
        return await aside(len(raw), lambda: orjson.loads(raw))
    except orjson.JSONDecodeError:
        return RpcError(PARSE_ERROR)


def _is_id(value: object) -> bool:
    """A string, a number that every client can tell from the next, or null."""
    if isinstance(value, bool):
        return False
    if isinstance(value, str):
        return len(value) <= MOST_OF_ID
    return value is None or (isinstance(value, int | float) and abs(value) <= SAFE_NUMBER)


def _id_of(sent: object) -> object:
    """The id of a request that is none; null where it has none that could be one."""
    value = sent.get("id") if isinstance(sent, dict) else None
    return value if _is_id(value) else None


def _failure(call_id: object, error: RpcError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": error.shown(), "id": call_id}


def _response(answer: Any) -> Response:
    if answer is None:
        return Response(status_code=204)
    return Response(orjson.dumps(answer, option=orjson.OPT_UTC_Z), media_type="application/json")
