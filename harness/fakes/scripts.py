"""Scripted answers as data: what a fake says next, how often, and what goes wrong on the way.

It holds no server: `harness.fakes.wire` sends them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

FIELDS = frozenset(
    {
        "status",
        "delay_s",
        "drop",
        "times",
        "every",
        "retry_after",
        "location",
        "body",
        "content_type",
        "cut",
        "drip_s",
    }
)


@dataclass
class Answer:
    """One scripted answer, used `left` more times (None: without end), for each request or for every n-th."""

    status: int = 200
    delay_s: float = 0.0
    drop: bool = False
    retry_after: str | None = None
    location: str | None = None
    body: bytes | None = None
    content_type: str = "text/html"
    cut: bool = False
    drip_s: float = 0.0
    every: int = 1
    left: int | None = 1
    asked: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """What it says beside its status and body."""
        named = {"Retry-After": self.retry_after, "Location": self.location}
        return {name: value for name, value in named.items() if value is not None}


A = TypeVar("A", bound=Answer)


def common(answer: Any, fields: frozenset[str], usual_status: int = 200) -> dict[str, Any]:
    """The values of an `Answer` in one entry of a script.

    usual_status: where the entry has none and drops nothing. ValueError names what is wrong with the entry: a typo
    must not pass as success.
    """
    if not isinstance(answer, dict) or set(answer) - fields:
        raise ValueError(f"an answer is an object with some of {sorted(fields)}, not {answer!r}")
    drop = bool(answer.get("drop", False))
    status = answer.get("status", 0 if drop else usual_status)
    if not isinstance(status, int) or not (200 <= status <= 599 or (status == 0 and "body" not in answer)):
        raise ValueError(f"status: 200 to 599, or 0 without a body, not {status!r}")
    times = _whole(answer, "times", least=0)
    retry_after = answer.get("retry_after")
    return {
        "status": status,
        "delay_s": float(answer.get("delay_s", 0.0)),
        "drop": drop,
        "retry_after": retry_after if retry_after is None or isinstance(retry_after, str) else f"{retry_after:g}",
        "location": answer.get("location"),
        "body": _bytes(answer["body"]) if "body" in answer else None,
        "content_type": answer.get("content_type", "text/html"),
        "cut": bool(answer.get("cut", False)),
        "drip_s": float(answer.get("drip_s", 0.0)),
        "every": _whole(answer, "every", least=1),
        "left": times or None,
    }


def _whole(answer: dict[str, Any], name: str, *, least: int) -> int:
    value = answer.get(name, 1)
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name}: an integer >= {least}, not {value!r}")
    return value


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, binascii.Error):
        raise ValueError(f"body: bytes, not {text!r}") from None


def on_the_wire(answers: Sequence[Any]) -> list[Any]:
    """A script as JSON: bodies are bytes."""
    return [
        answer | {"body": base64.b64encode(answer["body"]).decode()}
        if isinstance(answer, dict) and "body" in answer
        else answer
        for answer in answers
    ]


def take(script: list[A]) -> A | None:
    """The next answer of a script, used up by one; None when the script is at its end, or it is not the n-th's turn."""
    if not script:
        return None
    answer = script[0]
    answer.asked += 1
    if answer.asked % answer.every:
        return None
    if answer.left is not None:
        answer.left -= 1
        if answer.left == 0:
            del script[0]
    return answer
