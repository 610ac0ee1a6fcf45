"""Questions to a Schemathesis case. It changes none."""

from __future__ import annotations

import zlib
from typing import Any, Final, cast

import requests
from schemathesis import Case
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase

Sent = Case[Any]
KEEP_INVENTED_EVERY: Final = 6
# None: all headers at once.
SIGNED_HEADERS: Final = ("X-Timestamp", "X-Signature", None)


def in_scenario(case: Sent) -> bool:
    """Whether the case is a step of the stateful phase."""
    return case.meta is not None and case.meta.phase.name is TestPhase.STATEFUL


def kept(case: Sent, value: object) -> bool:
    """Whether an invented value stays. The value itself decides: equal choices of Hypothesis must fare equally."""
    return not in_scenario(case) and zlib.crc32(str(value).encode("utf-8", "replace")) % KEEP_INVENTED_EVERY == 0


def spoils_the_signature(case: Sent) -> bool:
    """Whether a wrong timestamp or signature is what the case is about."""
    if case.meta is None or case.meta.generation.mode.is_positive:
        return False
    data = case.meta.phase.data
    places = [(data.parameter_location, data.parameter)]
    places += [(mutation.parameter_location, mutation.parameter) for mutation in data.mutations]
    return any(place is ParameterLocation.HEADER and name in SIGNED_HEADERS for place, name in places)


def members(case: Sent) -> dict[str, Any]:
    """The JSON object that is the case's body; an empty one where it is something else."""
    return cast(dict[str, Any], case.body) if isinstance(case.body, dict) else {}


def body_bytes(case: Sent) -> bytes:
    """The body as it will go over the wire."""
    sent = case.as_transport_kwargs(base_url="http://127.0.0.1")
    content = requests.Request("POST", "http://127.0.0.1", json=sent.get("json"), data=sent.get("data")).prepare().body
    return content if isinstance(content, bytes) else str(content or "").encode()
