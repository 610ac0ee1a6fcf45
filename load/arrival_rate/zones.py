"""The zones that requests go to: seeded under the run's id, read afterwards by who compares them, then removed."""

from __future__ import annotations

import base64
import contextlib
import hmac
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg

from harness.devices.seeded_fleet import read_key
from harness.http.client import Client
from harness.platform.seeding import remove, seed, zone_id
from harness.settings import SettingsError, Target
from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.workload import Assignment, Observations, Subject
from load.measurements.observations import Before, count_errors, needs, observed
from load.measurements.server_clock import ServerClock, from_database
from load.verdict.check import Finding, RunCheck
from load.verdict.counters import Growth, grown


class SeededZones(Subject):
    """Of a target with a database. SettingsError without one: zones and keys are put into it. tables: that requests
    write to."""

    tables: LiteralString

    def __init__(self, target: Target) -> None:
        if target.database_url is None:
            raise SettingsError("DATABASE_URL: not set; the zones of a run are put into the database")
        self.url = target.database_url
        self.client = Client(target.base_url, target.admin_key, target.hmac_secret)
        self._before = Before(target, self.client)
        self.label = ""
        self.keys: list[str] = []

    def clock(self) -> ServerClock:
        """The database's. psycopg.Error."""
        return from_database(self.url)

    def begin(self, run: ArrivalRateRun) -> None:
        """TransportError, ValueError: the target does not tell its counters."""
        self._before.note(f"{run.tag}-before")

    def seed(self, whole: Assignment) -> None:
        """psycopg.Error."""
        self.label, self.keys = whole.run.rpartition("-")[2], self.tokens(whole)
        seed(self.url, self.label, self.keys)

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
            rows=observed(lambda: [self.look(number) for number in range(len(self.keys))], run, "database"),
            metrics=observed(lambda: self._before.metrics(f"{run.tag}-after"), run),
            log=observed(lambda: count_errors(self._before.stream()), run, "logs"),
        )

    def close(self) -> None:
        with contextlib.suppress(psycopg.Error):  # it is away, which the verdict tells
            remove(self.url, self.label, len(self.keys))

    @abstractmethod
    def look(self, number: int) -> Any:
        """What is in a zone, for the checks. psycopg.Error, TransportError, RpcError, ValueError."""

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


def calls_counted(method: str) -> RunCheck[ArrivalRateRun, Observations]:
    """The check that each answered call of an RPC method was counted."""

    def ask(run: ArrivalRateRun, seen: Observations) -> Finding:
        needs(run, "process")
        if not run.answered:
            return Finding([f"no {method} was answered"], "nothing to compare")
        labels = {"method": method, "outcome": "result"}
        most = run.answered + run.unanswered
        return grown(seen.metrics.get(), Growth("platform_rpc_calls", labels, run.answered, most))

    return RunCheck("counters", "the counter of calls grew by what was answered", ask)
