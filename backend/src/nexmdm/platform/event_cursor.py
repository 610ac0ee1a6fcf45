"""Cursors of the event log: a place in one zone's numbers, good for one list of one zone."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import orjson

from nexmdm.http import cursors
from nexmdm.kernel.problems import invalid

Order = Literal["list", "replay"]


def encode(order: Order, zone: UUID, number: int) -> str:
    """After which event, in this order, the next page begins."""
    return cursors.encode(orjson.dumps([order, str(zone), number]).decode())


def decode(order: Order, zone: UUID, cursor: str) -> int:
    """What `encode` was given. Problem: 422 for everything that it does not make, or makes for another list or zone."""
    try:
        number = orjson.loads(cursors.decode(cursor))[2]
    except (ValueError, LookupError, TypeError):
        number = None
    if type(number) is not int or not 0 <= number < 2**63 or encode(order, zone, number) != cursor:
        raise invalid("/query/cursor", "cursor", "Not a cursor of this list.")
    return number
