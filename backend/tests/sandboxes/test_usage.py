"""Usage by lab and day: where a day begins and ends, and how many there may be."""

from __future__ import annotations

from typing import Any

import asyncpg
import httpx
from support.sandboxes import store_allocation

PATH = "/v1/admin/usage"
GOOD = [
    ("2026-01-01", "2026-03-31"),
    ("2026-01-01", "2026-01-01"),
    ("0001-01-01", "0001-01-01"),
    ("9999-12-31", "9999-12-31"),
]
BAD = [
    ("2026-01-01", "2026-04-01"),
    ("2026-01-02", "2026-01-01"),
    ("0001-01-01", "9999-12-31"),
    ("2026-02-29", "2026-03-01"),
    ("0000-01-01", "0000-01-01"),
    ("2026-W01-1", "2026-01-01"),
    ("20260101", "20260101"),
    ("1767225600", "1767225600"),
    ("2026-01-01T00:00:00Z", "2026-01-01"),
    (" 2026-01-01", "2026-01-01"),
    ("\u0662026-01-01", "2026-01-01"),
    ("", ""),
]


async def test_days_are_of_utc_and_both_ends_count(
    admin: httpx.AsyncClient, connection: asyncpg.Connection[Any]
) -> None:
    for number, moment in enumerate(
        (
            "2026-03-28T23:59:59.999999Z",
            "2026-03-29T00:00:00Z",  # Europe's clocks change on this day
            "2026-03-29T23:59:59.999999Z",
            "2026-03-30T23:59:59.999999Z",
            "2026-03-31T00:00:00Z",
        )
    ):
        await store_allocation(connection, f"sb-{number}", at=moment)
    answer = await admin.get(PATH, params={"from": "2026-03-29", "to": "2026-03-30"})
    seen = {item["day"]: item["allocations"] for item in answer.json()["items"]}
    assert seen == {"2026-03-29": 2, "2026-03-30": 1}


async def test_up_to_ninety_days_that_exist(admin: httpx.AsyncClient) -> None:
    for first, last in GOOD + BAD:
        answer = await admin.get(PATH, params={"from": first, "to": last})
        assert answer.status_code == (200 if (first, last) in GOOD else 422), (first, last)


async def test_a_median_is_of_the_ended_ones(admin: httpx.AsyncClient, connection: asyncpg.Connection[Any]) -> None:
    day = "2026-03-29"
    for number, (ended, hours) in enumerate(
        [("released", 1), ("expired", 4.5), ("revoked", 0.25), ("released", 2), (None, None)]
    ):
        await store_allocation(connection, f"sb-{number}", "aws", at=f"{day}T01:00:00Z", ended=ended, hours=hours)
    await store_allocation(connection, "live", at=f"{day}T01:00:00Z")
    await store_allocation(connection, "odd", "gcp", at=f"{day}T01:00:00Z", ended="expired", hours=5)
    answer = await admin.get(PATH, params={"from": day, "to": day})
    nothing = {"day": day, "allocations": 1, "live": 0, "released": 0, "expired": 0, "revoked": 0, "median_hours": None}
    assert answer.json()["items"] == [
        nothing | {"track_name": None, "live": 1},
        {
            "day": day,
            "track_name": "aws",
            "allocations": 5,
            "live": 1,
            "released": 2,
            "expired": 1,
            "revoked": 1,
            "median_hours": 1.5,
        },
        nothing | {"track_name": "gcp", "expired": 1, "median_hours": 5.0},
    ]
