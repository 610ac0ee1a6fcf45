"""JSON bodies: from raw bytes to a strict shape, or a documented refusal. It never lets FastAPI decode a body.

FastAPI would validate Python objects, where strict mode refuses valid JSON date-times and lenient mode takes "5" for 5.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from nexmdm.http.problems import MALFORMED_JSON, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE
from nexmdm.kernel.problems import VALIDATION_ERROR, FieldError, Problem

JSON_LIMIT_BYTES = 64 * 1024

T = TypeVar("T")


async def read_limited(request: Request, limit: int = JSON_LIMIT_BYTES) -> bytes:
    """The whole body, or 413 as soon as it is known to exceed `limit` bytes. A repeated call gives the same bytes."""
    kept: bytes | None = request.scope.get("nexmdm.body")
    if kept is not None:
        return kept
    if int(request.headers.get("content-length", 0)) > limit:
        raise Problem(PAYLOAD_TOO_LARGE, f"The body exceeds {limit} bytes.")
    body = b""
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > limit:
            raise Problem(PAYLOAD_TOO_LARGE, f"The body exceeds {limit} bytes.")
        more = message.get("more_body", False)
    request.scope["nexmdm.body"] = body
    return body


def require_media_type(request: Request, *expected: str) -> None:
    """415 unless the body is declared as one of `expected`, in UTF-8 where it is text, without any Content-Encoding."""
    essence, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if essence.strip().lower() not in expected or charset not in {"", "utf-8"}:
        raise Problem(UNSUPPORTED_MEDIA_TYPE, f"Send {' or '.join(expected)}.")
    if "content-encoding" in request.headers:
        raise Problem(UNSUPPORTED_MEDIA_TYPE, "Send the body without Content-Encoding.")


def field_errors(
    error: ValidationError, root: str = "/body", declared: frozenset[str] | None = None
) -> list[FieldError]:
    """What was wrong, without what was sent: a pointer names only `declared` properties (None: all) and indexes.

    At most 20 faults, so that no answer outgrows its request.
    """
    return [
        {
            "pointer": "/".join([root, *(str(part) for part in item["loc"] if _ours(part, declared))]),
            "code": item["type"],
            "message": _QUOTING.get(item["type"], item["msg"])[:200],
        }
        for item in error.errors(include_input=False, include_url=False, include_context=False)[:20]
    ]


# pydantic's own messages of these quote what was sent
_QUOTING: Final = {
    "union_tag_invalid": "Not one of the documented values",
    "uuid_parsing": "Input should be a valid UUID",
    "json_invalid": "Not JSON",
}


def _ours(part: int | str, declared: frozenset[str] | None) -> bool:
    return isinstance(part, int) or declared is None or part in declared


def _property_names(schema: object) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(_property_names, schema))
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", {})).union(*map(_property_names, schema.values()))


class JsonBody(Generic[T]):
    """A FastAPI dependency that gives a validated `T`. `openapi` describes it for the route's `openapi_extra`."""

    def __init__(self, shape: type[T] | Any) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(shape)
        self._declared = frozenset(_property_names(self._adapter.json_schema()))

    async def __call__(self, request: Request) -> T:
        require_media_type(request, "application/json")
        return self.parse(await read_limited(request))

    def parse(self, raw: bytes) -> T:
        """Validate raw bytes.

        Raises:
            Problem: `malformed_json` where it is no JSON by RFC 8259 (NaN included), else `validation_error`.
        """
        try:
            return self._adapter.validate_json(raw)
        except ValidationError as error:
            try:
                from_json(raw, allow_inf_nan=False)
            except ValueError:
                raise Problem(MALFORMED_JSON) from None
            raise Problem(VALIDATION_ERROR, errors=field_errors(error, declared=self._declared)) from None

    @property
    def openapi(self) -> dict[str, Any]:
        """The operation's `requestBody`."""
        schema = self._adapter.json_schema()
        return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
