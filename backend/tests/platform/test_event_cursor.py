"""Cursors of the event log: good for one list of one zone."""

from __future__ import annotations

import base64
from uuid import UUID

import pytest

from nexmdm.kernel.problems import Problem
from nexmdm.platform.event_cursor import decode, encode

ZONE, OTHER = UUID(int=1), UUID(int=2)


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize("number", [0, 1, 2**63 - 1])
def test_a_place_comes_back(number: int) -> None:
    assert decode("replay", ZONE, encode("replay", ZONE, number)) == number


@pytest.mark.parametrize(
    "cursor",
    [
        encode("list", ZONE, 1),
        encode("replay", OTHER, 1),
        encode("replay", ZONE, 2**63),
        encode("replay", ZONE, -1),
        _encoded(f'["replay","{ZONE}",true]'),
        _encoded(f'["replay","{ZONE}",1.0]'),
        _encoded(f'["replay", "{ZONE}", 1]'),
        _encoded('{"2":1}'),
        _encoded("[1]"),
        "A",
        "____",
    ],
)
def test_anything_else_is_refused(cursor: str) -> None:
    with pytest.raises(Problem) as refused:
        decode("replay", ZONE, cursor)
    assert refused.value.status == 422
