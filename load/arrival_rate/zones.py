"""The zones that requests go to: seeded under the run's id, compared with its record, then removed.

What is compared here is small files; queues.py has tasks.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, LiteralString

import psycopg

from harness.devices.seeded_fleet import read_key
from harness.http.client import Client
from harness.platform.seeding import remove, seed, zone_id
from harness.platform.zone import Zone
from harness.settings import SettingsError, Target
from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.workload import LOG_ERRORS, Assignment, Checks, Observations, Subject, Workload
from load.arrival_rate.writes import WriteRequests
from load.measurements.observations import Before, count_errors, needs, observed
from load.measurements.server_clock import ServerClock, from_database
from load.verdict.check import Finding, RunCheck, Undecided
from load.verdict.counters import Growth, grown
from load.verdict.verdict import Facts
from load.workloads.write_record import (
    Logged,
    Stored,
    Usage,
    WriteRecord,
    ZoneFound,
    event_faults,
    file_faults,
    usage_faults,
)

_FILES: Final = "SELECT path, size, encode(sha256(content), 'hex') FROM files WHERE zone_id = %s ORDER BY path"
_EVENTS: Final = "SELECT sequence_number, type, path FROM events WHERE zone_id = %s ORDER BY sequence_number"
_ZONE: Final = "SELECT used_bytes, files, event_seq FROM zones WHERE zone_id = %s"


class SeededZones(Subject):
    """Of a target with a database. SettingsError without one: zones and keys are put into it. tables: that requests
    write to."""

    tables: LiteralString = "zones, events, files"

    def __init__(self, target: Target) -> None:
        if target.database_url is None:
            raise SettingsError("DATABASE_URL: not set; the zones of a run are put into the database")
        self.checks = CHECKS
        self.url = target.database_url
        self._client = Client(target.base_url, target.admin_key, target.hmac_secret)
        self._before = Before(target, self._client)
        self.label = ""
        self._keys: list[str] = []

    def clock(self) -> ServerClock:
        """The database's. psycopg.Error."""
        return from_database(self.url)

    def begin(self, run: ArrivalRateRun) -> None:
        """TransportError, ValueError: the target does not tell its counters."""
        self._before.note(f"{run.tag}-before")

    def seed(self, whole: Assignment) -> None:
        """psycopg.Error."""
        self.label, self._keys = whole.run.rpartition("-")[2], self.tokens(whole)
        seed(self.url, self.label, self._keys)

    def settle(self) -> None:
        """The rows that a warm-up has left dead go now, and the tables' sizes are known to the planner."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"VACUUM (ANALYZE) {self.tables}")

    def tokens(self, part: Assignment) -> list[str]:
        """The keys of its zones, which follow from the database's own. psycopg.Error."""
        key = read_key(self.url)
        drawn = (hmac.digest(key, f"{part.run} {zone}".encode(), "sha256") for zone in self.numbers(part))
        return [f"nxk_{base64.urlsafe_b64encode(one).decode()[:43]}" for one in drawn]

    def numbers(self, part: Assignment) -> range:
        """The zones of a part: a device of the assignment is a zone."""
        return part.own

    def observe(self, run: ArrivalRateRun) -> Observations:
        return Observations(
            rows=observed(lambda: [self.look(number) for number in range(len(self._keys))], run, "database"),
            metrics=observed(lambda: self._before.metrics(f"{run.tag}-after"), run),
            log=observed(lambda: count_errors(self._before.stream()), run, "logs"),
        )

    def facts(self, run: ArrivalRateRun) -> Facts:
        return {"errors that writes were answered with": in_words(run.ledger(WriteRecord).refusals)}

    def close(self) -> None:
        with contextlib.suppress(psycopg.Error):  # it is away, which the verdict tells
            remove(self.url, self.label, len(self._keys))

    def look(self, number: int) -> Any:
        """What is in a zone. psycopg.Error, TransportError, RpcError, ValueError."""
        name = self.name(number)
        zone = Zone(self._client, self._keys[number], name)
        listed = [_stored(entry) for entry in zone.entries() if entry["type"] == "file"]
        replayed = [Logged(event["sequence_number"], event["type"], event["path"]) for event in zone.log()]
        usage = zone.usage()
        with self.snapshot() as connection:
            files = [Stored(*row) for row in connection.execute(_FILES, [name])]
            events = [Logged(*row) for row in connection.execute(_EVENTS, [name])]
            [(used_bytes, counted, last_event)] = connection.execute(_ZONE, [name])
        shown = Usage(usage["max_storage_bytes"], usage["max_files"])
        return ZoneFound(files, events, Usage(used_bytes, counted), last_event, listed, replayed, shown)

    def name(self, number: int) -> str:
        """The id of a zone."""
        return zone_id(self.label, number)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[psycopg.Connection]:
        """Statements that see one state of the database. psycopg.Error."""
        with self._before.connect() as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with connection.transaction():
                yield connection


def in_words(refusals: Counter[str]) -> str:
    """The five most frequent."""
    return ", ".join(f"{count} x {what}" for what, count in refusals.most_common(5)) or "none"


def _stored(entry: Mapping[str, Any]) -> Stored:
    return Stored(entry["path"], entry["size"], entry["etag"])


def _files(run: ArrivalRateRun, seen: Observations) -> Finding:
    record, found = run.ledger(WriteRecord), seen.rows.get()
    files = sum(len(zone.files) for zone in found)
    told = f"{files} files for {len(record.acknowledged)} acknowledged writes, {len(record.unsure)} are unsure"
    faults = file_faults(record, found, run.seed)
    # Where most are unsure, a match says nothing.
    if not faults and len(record.acknowledged) <= 10 * len(record.unsure):
        raise Undecided(told)
    return Finding(faults, told)


def _events(_: ArrivalRateRun, seen: Observations) -> Finding:
    found = seen.rows.get()
    numbers = sorted(zone.last_event for zone in found)
    return Finding(event_faults(found), f"{sum(numbers)} events, {numbers[0]} to {numbers[-1]} in a zone")


def _usage(_: ArrivalRateRun, seen: Observations) -> Finding:
    found = seen.rows.get()
    used_bytes, files = (sum(amounts) for amounts in zip(*(zone.charged for zone in found), strict=True))
    return Finding(usage_faults(found), f"{used_bytes} bytes of {files} files; zones: {len(found)}")


def _counters(run: ArrivalRateRun, seen: Observations) -> Finding:
    needs(run, "process")
    if not run.answered:
        return Finding(["nothing was written"], "nothing to compare")
    labels = {"method": "write", "outcome": "result"}
    return grown(seen.metrics.get(), Growth("platform_rpc_calls", labels, run.answered, run.answered + run.unanswered))


CHECKS: Checks = (
    RunCheck("files", "each acknowledged write is a file, and nothing else is", _files),
    RunCheck("events", "each file has one event, numbered without a gap, replayed in order", _events),
    RunCheck("usage", "each zone is charged for the files that it has", _usage),
    RunCheck("counters", "the counter of calls grew by what was answered", _counters),
    LOG_ERRORS,
)

WRITES: Final = Workload(WriteRequests, WriteRecord, WriteRecord.from_dict, SeededZones)
