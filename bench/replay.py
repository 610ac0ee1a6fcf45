"""How many events a second one reader gets of a zone's log, in pages of 1,000, against the same pages by SQL alone."""

from __future__ import annotations

import secrets
import statistics
import time
from typing import Final

from bench.pgbench import Pgbench
from bench.rig import Rig, client, listed, median_ratio, refused
from harness.http.client import Client
from harness.platform.seeding import fill, remove, seed, zone_id
from harness.verdict.thresholds import Judgement, Limit

_PAGE: Final = 1000
_EVENTS: Final = 100_000
_SOURCE: Final = f"one reader, pages of {_PAGE:,}, each parsed; medians of interleaved pairs"
PER_S: Final = Limit("replay to one reader", "/s", ">=", 20_000, source=_SOURCE)
TO_SQL: Final = Limit("replay to one reader / the same pages by pgbench, one client", "", ">=", 0.06, source=_SOURCE)
_APPEND: Final = """
    INSERT INTO events (zone_id, sequence_number, occurred_at, type, path)
    SELECT %(zone_id)s, number, clock_timestamp(), 'write', '/load/' || number %% 16 || '/' || number
    FROM generate_series(1, %(events)s) AS number
"""
_COUNT: Final = "UPDATE zones SET event_seq = %(events)s WHERE zone_id = %(zone_id)s"
_PAGE_BY_SQL: Final = f"""
\\set after random(0, {_EVENTS - _PAGE})
SELECT event_id, sequence_number, type, path, new_path, zone_id, agent_id, occurred_at FROM events
WHERE zone_id = '%s' AND sequence_number > :after ORDER BY sequence_number LIMIT {_PAGE};
"""  # noqa: S608 - composed of constants


class _Reader:
    """One that reads the log from its beginning to its end, then again."""

    def __init__(self, caller: Client, key: str) -> None:
        self._caller, self._key = caller, key
        self._read, self._cursor = 0, ""

    def round(self, duration_s: float) -> float:
        """Events a second. Refused for a page that is not the next one."""
        begun, events = time.monotonic(), 0
        while (took_s := time.monotonic() - begun) < duration_s:
            events += self._page()
        return events / took_s

    def _page(self) -> int:
        query = {"limit": str(_PAGE)} | ({"cursor": self._cursor} if self._read else {})
        answer = self._caller.bearer(self._key, "GET", "/api/v2/events/replay", params=query)
        page = answer.json() if answer.status == 200 else {"events": []}
        numbers = [event["sequence_number"] for event in page["events"]]
        if numbers != list(range(self._read + 1, self._read + _PAGE + 1)):
            raise refused(f"the page after {self._read}", answer.status, answer.body)
        self._read, self._cursor = (self._read + _PAGE) % _EVENTS, page["next_cursor"]
        return len(numbers)


def replay(rig: Rig) -> list[Judgement]:
    """What a reader gets, and its share of what the database gives."""
    plan, url = rig.plan, rig.stack.target.database_url or ""
    label, key = secrets.token_hex(5), f"nxk_{secrets.token_urlsafe(32)}"
    seed(url, label, [key])
    zone = zone_id(label, 0)
    read, given = list[float](), list[float]()
    try:
        fill(url, (_APPEND, _COUNT), "events", zone_id=zone, events=_EVENTS)
        pgbench = Pgbench(url, _PAGE_BY_SQL % zone, clients=1)
        with rig.backend() as backend:
            reader = _Reader(client(backend.base_url, rig.stack.env), key)
            reader.round(1.0)  # the connection, plans
            for number in range(1, plan.rounds + 1):
                read.append(reader.round(plan.round_s))
                given.append(pgbench.round(plan.round_s) * _PAGE)
                rig.say(f"replay {number}/{plan.rounds}: {read[-1]:.0f}, pgbench {given[-1]:.0f} events a second")
    finally:
        remove(url, label, 1)
    rig.facts["replay: one reader, events per s"] = listed(read)
    rig.facts["replay: pgbench, events per s"] = listed(given)
    return [
        PER_S.judge_value(statistics.median(read), len(read)),
        TO_SQL.judge_value(median_ratio(read, given), len(read)),
    ]
