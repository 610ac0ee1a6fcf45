"""A target with a seeded fleet: its rows, the server's clock, and what a run must have left behind in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from harness.devices import seeded_fleet
from harness.http.client import Client
from harness.settings import SettingsError, Target
from harness.verdict.thresholds import Status
from load.arrival_rate.generator import Assignment
from load.arrival_rate.run import ArrivalRateRun
from load.measurements.observations import Absent, Before, LogErrors, Metrics, Part, count_errors, needs, observed
from load.measurements.server_clock import ServerClock, from_database
from load.measurements.tally import pair
from load.verdict.check import Finding, RunCheck, Undecided
from load.verdict.counters import Growth, grown

_ROWS = (
    "SELECT device_id::text, floor(extract(epoch FROM bucket) / %s)::bigint FROM device_heartbeats"
    " WHERE bucket >= to_timestamp(%s)"
)
_BLOCK = 20_000


@dataclass
class Observations:
    """rows: pairs of a device of the fleet and a bucket, one per row of device_heartbeats."""

    rows: Part[list[int]] = field(default_factory=Part)
    metrics: Part[Metrics] = field(default_factory=Part)
    log: Part[LogErrors] = field(default_factory=Part)


Checks = Sequence[RunCheck[ArrivalRateRun, Observations]]


class Subject(Protocol):
    """Whom the requests are sent for, and where that is looked up afterwards."""

    checks: Checks

    def clock(self) -> ServerClock: ...

    def begin(self, run: ArrivalRateRun) -> None:
        """Note what is there already."""
        ...

    def seed(self, whole: Assignment) -> None:
        """Make the devices of the run."""
        ...

    def tokens(self, part: Assignment) -> list[str]:
        """Those of the devices of this part, as every process can derive them."""
        ...

    def observe(self, run: ArrivalRateRun) -> Observations:
        """Read what came to be since `begin`."""
        ...


class SeededFleet:
    """A target with a database. SettingsError without one: 100,000 devices cannot enrol over HTTP in a sane time."""

    def __init__(self, target: Target) -> None:
        if target.database_url is None:
            raise SettingsError("DATABASE_URL: not set; the devices of a fleet are put into the database, not enrolled")
        self.checks = CHECKS
        self._url = target.database_url
        self._before = Before(target, Client(target.base_url, target.admin_key, target.hmac_secret))
        self._numbers: dict[str, int] = {}

    def clock(self) -> ServerClock:
        """The database's, which buckets the heartbeats. psycopg.Error."""
        return from_database(self._url)

    def begin(self, run: ArrivalRateRun) -> None:
        """TransportError, ValueError: the target does not tell its counters."""
        self._before.note(f"{run.tag}-before")

    def seed(self, whole: Assignment) -> None:
        """Put them into the database. psycopg.Error."""
        devices = self._fleet(whole).insert(self._url, whole.devices)
        self._numbers = {device.device_id: number for number, device in enumerate(devices)}

    def tokens(self, part: Assignment) -> list[str]:
        """psycopg.Error: the key that they are derived from cannot be read."""
        fleet = self._fleet(part)
        return [fleet.token(number) for number in part.own]

    def _fleet(self, part: Assignment) -> seeded_fleet.Fleet:
        return seeded_fleet.Fleet(seeded_fleet.read_key(self._url), part.run, int(part.origin * 1000))

    def observe(self, run: ArrivalRateRun) -> Observations:
        return Observations(
            rows=observed(lambda: self._rows(run), run, "database"),
            metrics=observed(lambda: self._before.metrics(f"{run.tag}-after"), run),
            log=observed(lambda: count_errors(self._before.stream()), run, "logs"),
        )

    def _rows(self, run: ArrivalRateRun) -> list[int]:
        bucket_s = run.scenario.bucket_s
        with self._before.connect() as connection, connection.cursor("rows") as cursor:
            cursor.itersize = _BLOCK
            cursor.execute(_ROWS, (bucket_s, run.started_at - 2 * bucket_s))
            return [pair(self._numbers[device], bucket) for device, bucket in cursor if device in self._numbers]


def _rows(run: ArrivalRateRun, seen: Observations) -> Finding:
    rows = run.rows()
    faults, told = rows.compare(seen.rows.get())
    if not faults and len(rows.sure) <= 10 * len(rows.spans):  # where most are unsure, a match says nothing
        raise Undecided(told)
    return Finding(faults, told)


def _counters(run: ArrivalRateRun, seen: Observations) -> Finding:
    needs(run, "process")
    if not run.answered:
        return Finding(["nothing was answered with 200"], "nothing to compare")
    return grown(seen.metrics.get(), Growth("heartbeats", {}, run.answered, run.answered + run.unanswered))


def _log(_: ArrivalRateRun, seen: Observations) -> Finding:
    log = seen.log.get()
    if not log.lines:
        raise Absent(Status.INCONCLUSIVE, "the log has no line of this run")
    return Finding(log.errors, f"{log.lines} log lines, {len(log.errors)} of them errors")


CHECKS: Checks = (
    RunCheck("rows", "one row per (device, bucket) that was sent", _rows),
    RunCheck("counters", "the counter of heartbeats grew by what was answered", _counters),
    RunCheck("log-errors", "no ERROR line in the log", _log),
)
