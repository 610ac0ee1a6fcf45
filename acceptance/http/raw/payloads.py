"""The JSON operations with a valid body each, and the ways to spoil one, grouped by the answer they deserve.

It is data: it sends nothing and expects nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

JSON: Final = "application/json"
JSON_LIMIT_BYTES: Final = 64 * 1024
CANARY: Final = b"canary-7f3a"


@dataclass(frozen=True)
class JsonOperation:
    """An operation that takes JSON. `body` is valid; `number` and `text` are bodies with a hole for a JSON value."""

    body: bytes
    number: bytes
    text: bytes


OPERATIONS: Final = {
    "createEnrollTokens": JsonOperation(
        b'{"aliases": ["raw-1"]}',
        b'{"aliases": ["raw-1"], "expires_in_s": %s}',
        b'{"aliases": ["raw-1"], "note": %s}',
    ),
    "registerDevice": JsonOperation(
        b'{"agent_version": "1.0.0"}',
        b'{"agent_version": "1.0.0", "sdk_int": %s}',
        b'{"agent_version": "1.0.0", "model": %s}',
    ),
    "recordHeartbeat": JsonOperation(
        b'{"status": "ok"}',
        b'{"status": "ok", "temp_c": %s}',
        b'{"status": "ok", "agent_version": %s}',
    ),
    "completeAction": JsonOperation(
        b'{"request_id": "raw-unknown", "outcome": "ok"}',
        b'{"request_id": "raw-unknown", "outcome": "ok", "data": {"n": %s}}',
        b'{"request_id": "raw-unknown", "outcome": "ok", "message": %s}',
    ),
    "sendCommand": JsonOperation(
        b'{"device_id": "00000000-0000-7000-8000-000000000000", "action": "ping"}',
        b'{"device_id": "00000000-0000-7000-8000-000000000000", "action": "ping", "request_id": %s}',
        b'{"device_id": "00000000-0000-7000-8000-000000000000", "action": "ping", "request_id": %s}',
    ),
}

NOT_JSON: Final[dict[str, Callable[[JsonOperation], bytes]]] = {
    "empty body": lambda _: b"",
    "blank body": lambda _: b" \r\n\t",
    "cut short": lambda op: op.body[:-1],
    "rest behind the end": lambda op: op.body + b" " + CANARY,
    "trailing comma": lambda op: op.body[:-1] + b",}",
    "single quotes": lambda op: op.body.replace(b'"', b"'"),
    "comment": lambda op: b"/* " + CANARY + b" */" + op.body,
    "NaN": lambda op: op.number % b"NaN",
    "Infinity": lambda op: op.number % b"Infinity",
    "minus Infinity": lambda op: op.number % b"-Infinity",
    "leading zero": lambda op: op.number % b"012",
    "hexadecimal": lambda op: op.number % b"0x1f",
    "half a word": lambda _: b"nul",
    "raw NUL": lambda op: op.text % (b'"' + CANARY + b'\x00"'),
    "raw newline": lambda op: op.text % (b'"' + CANARY + b'\n"'),
    "lone high surrogate": lambda op: op.text % (b'"' + CANARY + b'\\ud800"'),
    "lone low surrogate": lambda op: op.text % (b'"' + CANARY + b'\\udc00"'),
    "lone surrogate in a name": lambda op: op.body[:-1] + b', "\\udfff": 1}',
    "surrogates reversed": lambda op: op.text % (b'"' + CANARY + b'\\udc00\\ud800"'),
    "invalid UTF-8": lambda op: op.text % (b'"' + CANARY + b'\xff"'),
    "overlong UTF-8": lambda op: op.text % (b'"' + CANARY + b'\xc0\xaf"'),
    "surrogate in UTF-8": lambda op: op.text % (b'"' + CANARY + b'\xed\xa0\x80"'),
    "UTF-16 with BOM": lambda op: op.body.decode().encode("utf-16"),
    "UTF-16 without BOM": lambda op: op.body.decode().encode("utf-16-le"),
    "UTF-32": lambda op: op.body.decode().encode("utf-32"),
    "UTF-8 with BOM": lambda op: b"\xef\xbb\xbf" + op.body,
    "5,000-digit integer": lambda op: op.number % (b"9" * 5000),
    "brackets without an end": lambda _: b"[" * 20_000,
    "nested 30,000 deep": lambda op: op.number % (b"[" * 30_000 + b"]" * 30_000),
}
NOT_VALID: Final[dict[str, Callable[[JsonOperation], bytes]]] = {
    "null": lambda _: b"null",
    "array": lambda op: b"[" + op.body + b"]",
    "string": lambda _: b'"' + CANARY + b'"',
    "number": lambda _: b"1",
    "empty object": lambda _: b"{}",
    "unknown member": lambda op: op.body[:-1] + b', "' + CANARY + b'": 1}',
    "escaped NUL": lambda op: op.text % (b'"' + CANARY + b'\\u0000"'),
    "1e400": lambda op: op.number % b"1e400",
    "1e999": lambda op: op.number % b"1e999",
    "400-digit integer": lambda op: op.number % (b"9" * 400),
    "null for an optional member": lambda op: op.number % b"null",
    "array for a number": lambda op: op.number % (b'["' + CANARY + b'"]'),
}
TOO_LARGE: Final[dict[str, Callable[[JsonOperation], bytes]]] = {
    "one byte over the limit": lambda op: op.body.ljust(JSON_LIMIT_BYTES + 1),
    "nested 100,000 deep": lambda op: op.number % (b"[" * 100_000 + b"]" * 100_000),
    "a megabyte": lambda op: op.text % (b'"' + b"x" * 1_000_000 + b'"'),
}
