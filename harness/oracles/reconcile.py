"""The audit: a ledger against the database and the messages that reached FCM. What is missing, doubled, unasked?

It judges none of it: how many of each may be is the caller's. It reads, with whatever role its URL has.

    missing  acknowledged, and not there, or not as acknowledged
    doubled  there more often than it may be
    unasked  there, and nobody asked for it (a write without an answer was asked)
    landed   there, though its asker got a 503 or no answer: allowed, and the reason why clients must be able to repeat

Sandboxes are compared in harness/oracles/broker.py, files and uploads in harness/oracles/zones.py.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import psycopg

from harness.oracles import broker, zones
from harness.oracles.findings import Findings
from harness.oracles.history import Entry, Kind, Ledger

BUCKET_S: Final = 10
# How long a write that was refused, or whose asker has given up, may still be under way in the database.
LATE_S: Final = 30.0


class Rule(NamedTuple):
    """How a kind of write stands in the database: (key, what an acknowledgement promised, how often it is there)."""

    sql: str
    per_request: bool = False  # each request makes one more; else repeats of a key are one


_RULES: Final[Mapping[Kind, Rule]] = {
    "token": Rule(
        "SELECT alias, token_id::text, count(*) OVER (PARTITION BY alias) FROM enrollment_tokens", per_request=True
    ),
    "registration": Rule(
        # An alias that enrols again keeps its row: its version counts how often it did.
        "SELECT alias, device_id::text, greatest(token_version, count(*) OVER (PARTITION BY alias)) FROM devices",
        per_request=True,
    ),
    "command": Rule(
        "SELECT command_request_id, request_id, count(*) OVER (PARTITION BY command_request_id, device_id)"
        " FROM fcm_dispatches"
    ),
    "result": Rule(
        "SELECT request_id, completed_at, (SELECT count(*) FROM dispatch_transitions AS step"
        " WHERE step.request_id = d.request_id AND step.status = 'completed')"
        " FROM fcm_dispatches AS d WHERE completed_at IS NOT NULL"
    ),
    "revocation": Rule("SELECT token_id::text, token_id::text, 1 FROM enrollment_tokens WHERE revoked_at IS NOT NULL"),
    "retirement": Rule("SELECT device_id::text, device_id::text, 1 FROM devices WHERE retired_at IS NOT NULL"),
    "upload": Rule(
        "SELECT package_name || ' ' || version_code, sha256, count(*) OVER (PARTITION BY package_name, version_code)"
        " FROM apk_versions"
    ),
}
_BEATS: Final = "SELECT device_id::text, bucket, count(*) FROM device_heartbeats GROUP BY 1, 2"
# What must reach FCM: a dispatch that failed or expired has said so.
_DISPATCHES: Final = "SELECT request_id, status FROM fcm_dispatches"
_SENT: Final = ("sent", "completed")


@dataclass
class _Stored:
    """What the database holds for one key."""

    values: set[Hashable] = field(default_factory=set)
    times: int = 0


class Audit:
    """Made before a run, asked after it: what was there before is nobody's."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._before, self._given_before, self._zones_before = self._read()

    def compare(
        self,
        ledger: Ledger,
        inbox: Sequence[Mapping[str, Any]] | None = None,
        *,
        sends_again: int = 0,
        deletions: Sequence[Mapping[str, Any]] | None = None,
        content: Callable[[str], bytes] | None = None,
    ) -> Findings:
        """The differences. Nothing may be under way any more.

        inbox: what FCM was sent (harness.fcm.FcmControl.inbox); sends_again: how many of its messages may be there
        twice, because whoever sent them was killed before it could record that (backend/README.md, "Commands");
        deletions: what the provider was asked to delete (harness.provider.ProviderControl.calls);
        content: reads the file of a zone and path.
        """
        (after, given, held), found = self._read(), Findings()
        for kind in _RULES:
            before, now = self._before[kind], after[kind]
            new = {key: row for key, row in now.items() if key not in before}
            _compare(kind, ledger.entries(kind), now, new, found)
        _heartbeats(ledger.entries("heartbeat"), self._before["heartbeat"], after["heartbeat"], found)
        if inbox is not None:
            _messages(self._dispatches(), inbox, sends_again, found)
        broker.compare(ledger, given, self._given_before, deletions, found)
        zones.compare(ledger, held, self._zones_before, content, found)
        return found

    def _read(self) -> tuple[dict[Kind, dict[str, _Stored]], list[broker.Row], zones.State]:
        with psycopg.connect(self._url, connect_timeout=10) as connection:
            found: dict[Kind, dict[str, _Stored]] = {
                kind: _stored(connection.execute(rule.sql.encode()).fetchall()) for kind, rule in _RULES.items()
            }
            beats: dict[str, _Stored] = defaultdict(_Stored)
            for device, bucket, times in connection.execute(_BEATS).fetchall():
                beats[f"{device} {_number(bucket)}"].times = times
            return found | {"heartbeat": dict(beats)}, broker.read(connection), zones.read(connection)

    def _dispatches(self) -> dict[str, str]:
        with psycopg.connect(self._url, connect_timeout=10) as connection:
            return dict(connection.execute(_DISPATCHES).fetchall())


def _stored(rows: Iterable[tuple[Any, ...]]) -> dict[str, _Stored]:
    found: dict[str, _Stored] = defaultdict(_Stored)
    for key, value, times in rows:
        found[key].values.add(value)
        found[key].times = max(found[key].times, times)
    return dict(found)


def _compare(
    kind: Kind, entries: Sequence[Entry], now: Mapping[str, _Stored], new: Mapping[str, _Stored], found: Findings
) -> None:
    asked = Counter(entry.key for entry in entries)
    acknowledged = {entry.key for entry in entries if entry.acknowledged}
    for entry in entries:
        if entry.said is None:
            continue
        stored = now.get(entry.key)
        if stored is None:
            found.missing.append(f"{kind} {entry.key}: acknowledged and not there")
        elif lost := entry.said - stored.values:
            found.missing.append(f"{kind} {entry.key}: acknowledged as {_words(lost)}, is {_words(stored.values)}")
    for key, stored in new.items():
        may = asked[key] if _RULES[kind].per_request else 1
        if not asked[key]:
            found.unasked.append(f"{kind} {key}: nobody asked for it")
        elif stored.times > may:
            found.doubled.append(f"{kind} {key}: there {stored.times} times, asked for {asked[key]} times")
    found.landed += [f"{kind} {key}" for key in new if asked[key] and key not in acknowledged]


def _heartbeats(
    entries: Sequence[Entry], before: Mapping[str, _Stored], after: Mapping[str, _Stored], found: Findings
) -> None:
    """A beat's answer does not name its bucket: it is one of those between the asking and the answer.

    A beat that was acknowledged as a new row has one of its own; one that was a duplicate shares a row.
    """
    rows = {key: stored.times for key, stored in after.items() if key not in before}
    found.doubled += [f"heartbeat {key}: {times} rows in one bucket" for key, times in rows.items() if times > 1]
    asked: set[str] = set()
    claimed: set[str] = set()
    acknowledged: set[str] = set()
    # Those with the fewest buckets to choose from choose first.
    for entry in sorted(entries, key=lambda one: (len(_buckets(one)), one.asked_at)):
        keys = [f"{entry.key} {bucket}" for bucket in _buckets(entry)]
        asked.update(keys)
        if entry.said is None:
            continue
        acknowledged.update(keys)
        there = [key for key in keys if key in after]
        if "ingested" not in entry.said:
            there_or_not = bool(there)
        else:
            free = [key for key in there if key not in claimed]
            claimed.update(free[:1])
            there_or_not = bool(free)
        if not there_or_not:
            found.missing.append(f"heartbeat {entry.key} at {entry.asked_at:.3f}: acknowledged and not there")
    found.unasked += [f"heartbeat {key}: nobody asked for it" for key in rows if key not in asked]
    found.landed += [f"heartbeat {key}" for key in rows if key in asked and key not in acknowledged]


def _buckets(entry: Entry) -> range:
    """The numbers of the buckets in which the beat may lie; a clock that was set back makes the end the beginning."""
    ended_at = entry.asked_at if entry.ended_at is None else entry.ended_at
    late_s = 0.0 if entry.acknowledged else LATE_S
    first, last = min(entry.asked_at, ended_at), max(entry.asked_at, ended_at) + late_s
    return range(int(first // BUCKET_S), int(last // BUCKET_S) + 1)


def _number(bucket: datetime) -> int:
    return int(bucket.timestamp() // BUCKET_S)


def _messages(
    dispatches: Mapping[str, str], inbox: Sequence[Mapping[str, Any]], sends_again: int, found: Findings
) -> None:
    taken = Counter(item["data"].get("request_id", "") for item in inbox if item["status"] == 200)
    for request_id, status in dispatches.items():
        if status in _SENT and not taken[request_id]:
            found.missing.append(f"message {request_id}: {status}, and FCM never took it")
        elif status in ("queued", "sending"):
            found.missing.append(f"message {request_id}: still {status}")
    again = [f"message {name}: FCM took it {times} times" for name, times in taken.items() if times > 1]
    extra = sum(times - 1 for times in taken.values() if times > 1)
    if extra > sends_again:
        found.doubled += again
    found.unasked += [f"message {name}: of no dispatch" for name in taken if name not in dispatches]


def _words(values: Iterable[Hashable]) -> str:
    return ", ".join(sorted(map(str, values)))
