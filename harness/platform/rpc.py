"""JSON-RPC 2.0 as the platform speaks it: requests, results, errors, and the envelope of bytes.

It sends nothing, and judges no answer beyond its being JSON-RPC.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from harness.http.client import Answer

VERSION: Final = "2.0"


class RpcError(Exception):
    """A call was answered with an error."""

    def __init__(self, code: int, message: str, data: dict[str, Any]) -> None:
        super().__init__(code, message, data)
        self.code, self.message, self.data = code, message, data

    @property
    def kind(self) -> str:
        """The machine-readable code: of one number there are several."""
        return str(self.data["code"])


def request(method: str, params: Any = None, request_id: Any = 1) -> dict[str, Any]:
    """A request object. params None: without params."""
    given = {} if params is None else {"params": params}
    return {"jsonrpc": VERSION, "method": method, **given, "id": request_id}


def notification(method: str, params: Any = None) -> dict[str, Any]:
    """A request object without an id: nobody wants to know what became of it."""
    called = request(method, params)
    del called["id"]
    return called


def result_of(response: Any, request_id: Any) -> Any:
    """The result in a response object. RpcError: it is an error. ValueError: it is no response to that request."""
    if not isinstance(response, dict) or response.get("jsonrpc") != VERSION or "id" not in response:
        raise ValueError(f"no response object: {str(response)[:300]}")
    if type(response["id"]) is not type(request_id) or response["id"] != request_id:
        raise ValueError(f"the response is to {response['id']!r} and not to {request_id!r}")
    if response.keys() == {"jsonrpc", "id", "result"}:
        return response["result"]
    if response.keys() != {"jsonrpc", "id", "error"}:
        raise ValueError(f"neither a result nor an error: {sorted(response)}")
    error = response["error"]
    if not isinstance(error, dict) or error.keys() != {"code", "message", "data"} or type(error["code"]) is not int:
        raise ValueError(f"no error object: {error}")
    raise RpcError(error["code"], error["message"], error["data"])


def answered(answer: Answer, request_id: Any = 1) -> Any:
    """The result of a single call. RpcError as `result_of`; ValueError also for any status but 200."""
    if answer.status != 200:
        raise ValueError(f"expected 200, got {answer.status}: {answer.body[:500]!r}")
    return result_of(answer.json(), request_id)


def wrapped(content: bytes) -> dict[str, str]:
    """Bytes as they travel."""
    return {"__type__": "bytes", "data": base64.b64encode(content).decode()}


def unwrapped(envelope: Any) -> bytes:
    """The bytes of an envelope. ValueError: it is none."""
    if not isinstance(envelope, dict) or envelope.keys() != {"__type__", "data"} or envelope["__type__"] != "bytes":
        raise ValueError(f"no envelope of bytes: {str(envelope)[:200]}")
    try:
        return base64.b64decode(envelope["data"], validate=True)
    except (binascii.Error, TypeError) as error:
        raise ValueError(f"no base64: {str(envelope)[:200]}") from error
