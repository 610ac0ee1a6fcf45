"""The pool that the students of an arrival rate ask: seeded under the run's id, verified and removed afterwards."""

from __future__ import annotations

import base64
import contextlib
import hmac
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg

from harness.api_keys import Role, delete_key, insert_key
from harness.devices.seeded_fleet import read_key
from harness.http.client import Client
from harness.provider.server import ProviderControl
from harness.sandboxes import seeding
from harness.sandboxes.calls import ALLOCATE, Call, write_calls
from harness.sandboxes.course import course
from harness.sandboxes.verify import snapshot, verify
from harness.settings import SettingsError, Target
from harness.verdict.artifacts import write_json
from harness.verdict.thresholds import Check
from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.students import DRAIN, NEW, REPLAY, StudentRequests
from load.arrival_rate.workload import LOG_ERRORS, Assignment, Checks, Observations, Subject, Workload
from load.measurements.histogram import Histogram
from load.measurements.observations import Before, count_errors, needs, observed
from load.measurements.server_clock import ServerClock, from_database
from load.verdict.check import Finding, RunCheck, Undecided, judged_elsewhere
from load.verdict.counters import Growth, grown
from load.verdict.seed_counters import seed_counters
from load.verdict.verdict import Facts
from load.workloads.call_record import CallRecord

ROLES: Final[tuple[Role, ...]] = ("track", "admin")
_WRITTEN: Final = (
    "SELECT (pg_current_wal_insert_lsn() - '0/0')::float8, pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
)
_SETTINGS: Final = (
    "SELECT name || ' = ' || current_setting(name) FROM pg_settings WHERE source = 'command line' ORDER BY 1"
)
_DELETION_S: Final = 5.0  # a fake that answers at once would have hundreds a second made
_WAL_BYTES: Final = 10.0  # for a refusal
_TRANSACTIONS: Final = 100  # in a whole run of them: those of the background


class SeededPool(Subject):
    """SettingsError without a database: the pool is put into it."""

    def __init__(self, target: Target) -> None:
        if target.database_url is None:
            raise SettingsError("DATABASE_URL: not set; the sandboxes of a pool are put into the database")
        self.counters = RunCheck("counters", "the counters of allocations grew by what was answered", self._counters)
        self.checks: Checks = (self.counters, LOG_ERRORS)
        self._target, self._url = target, target.database_url
        self.client = Client(target.base_url, target.admin_key, target.hmac_secret)
        self._before = Before(target, self.client)
        self._label: str | None = None  # of what is in the pool for this run
        self.keys: list[str] = []
        self._record: CallRecord | None = None
        self._calls: list[Call] = []
        self._course: dict[str, Any] | None = None
        self._written: tuple[float, int] | None = None  # bytes of WAL, transaction ids
        self._server = ""

    def clock(self) -> ServerClock:
        """The database's, which decides. psycopg.Error."""
        return from_database(self._url)

    def begin(self, run: ArrivalRateRun) -> None:
        """TransportError, ValueError: the target does not tell its counters."""
        self._before.note(f"{run.tag}-before")
        if DRAIN in dict(run.scenario.mix):
            self.checks = (*self.checks, RunCheck("nothing-written", "a refusal writes nothing", self._idle))

    def seed(self, whole: Assignment) -> None:
        """Keys and sandboxes; a fake provider deletes as slowly as a real one. psycopg.Error, SeedingError."""
        if self._target.provider_control_url is not None:
            slow = [{"delay_s": _DELETION_S, "times": 0}]
            ProviderControl(self._target.provider_control_url).script("delete", slow)
        with psycopg.connect(self._url, autocommit=True) as connection:
            self._server = ", ".join(row[0] for row in connection.execute(_SETTINGS))
        for role, secret in zip(ROLES, self.tokens(whole), strict=True):
            self.keys.append(insert_key(self._url, role, secret))
        self._fill(whole)

    def _fill(self, whole: Assignment) -> None:
        self._label = whole.run.rpartition("-")[2]
        seeding.seed(self._url, self._label, whole.devices)

    def settle(self) -> None:
        """The rows that a warm-up has left dead go now, not when the database thinks so."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE) sandboxes, allocations")

    @contextlib.contextmanager
    def disturbed(self) -> Iterator[None]:
        """Nothing goes on beside the requests; what the database has written when they are answered is noted."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            before = connection.execute(_WRITTEN).fetchone()
            yield
            after = connection.execute(_WRITTEN).fetchone()
        assert before
        assert after
        self._written = after[0] - before[0], after[1] - before[1]

    def tokens(self, part: Assignment) -> list[str]:
        """The two keys, which follow from the database's own. psycopg.Error."""
        key = read_key(self._url)
        drawn = (hmac.digest(key, f"{role} {part.run}".encode(), "sha256") for role in ROLES)
        return [f"nxk_{base64.urlsafe_b64encode(one).decode()[:43]}" for one in drawn]

    def observe(self, run: ArrivalRateRun) -> Observations:
        verified = observed(partial(self._verified, run), run, "database")
        return Observations(
            verified=verified,
            metrics=observed(lambda: self._before.metrics(f"{run.tag}-after"), run),
            log=observed(lambda: count_errors(self._before.stream()), run, "logs"),
        )

    def verified(self, seen: Observations) -> Sequence[Check]:
        return judged_elsewhere(seen.verified, "verify", "the verifier was asked")

    def facts(self, run: ArrivalRateRun) -> Facts:
        """The seven counters of seed 003, and what PostgreSQL was started with."""
        calls, asks = self._recorded(run), Histogram()
        for kind in (NEW, REPLAY):
            asks.merge(run.timings().whole(kind))
        outcomes = Counter(call.status for call in calls.calls() if call.kind == ALLOCATE)
        server = {"PostgreSQL's command line": self._server} if self._server else {}
        return server | seed_counters(outcomes, asks, calls.outcomes["release released"])

    def files(self, directory: Path) -> list[str]:
        if self._course is None:
            return []
        write_json(directory / "pool.json", self._course, "pool")
        write_calls(directory / "calls.csv.gz", self._calls)
        return ["pool.json", "calls.csv.gz"]

    def close(self) -> None:
        with contextlib.suppress(psycopg.Error):  # it is away, which the verdict tells
            if self._label is not None:
                seeding.remove(self._url, self._label)
            while self.keys:
                delete_key(self._url, self.keys.pop())

    def _provider(self) -> ProviderControl | None:
        """The one that V9 is to be judged by."""
        return None

    def _idle(self, run: ArrivalRateRun, _: Observations) -> Finding:
        refused = self._recorded(run).outcomes["new exhausted"]
        if self._written is None or not refused:
            raise Undecided("nothing was refused")
        wal, transactions = self._written
        told = f"{wal / refused:.2f} bytes of WAL for each of {refused:,} refusals, {transactions} transactions in all"
        wanted = f"wanted: < {_WAL_BYTES:g} bytes, < {_TRANSACTIONS} transactions"
        return Finding([] if wal / refused < _WAL_BYTES and transactions < _TRANSACTIONS else [wanted], told)

    def _verified(self, run: ArrivalRateRun) -> Sequence[Check]:
        """Judged by rows, record and, where it is a fake, provider."""
        self._calls = list(self._recorded(run).calls())
        with snapshot(self._url) as connection:
            now = run.clock.now()
            self._course = course(run.scenario.name, connection, self._calls, run.started_at, now)
        seeded = run.scenario.devices if self._label else None
        found = verify(self._url, self._calls, label=self._label, seeded=seeded, provider=self._provider())
        return found.checks

    def _recorded(self, run: ArrivalRateRun) -> CallRecord:
        """The calls of all legs, of a run that is over: half a million are added up once."""
        if self._record is None:
            self._record = run.ledger(CallRecord)
        return self._record

    def _counters(self, run: ArrivalRateRun, seen: Observations) -> Finding:
        needs(run, "process")
        outcomes = self._recorded(run).outcomes
        wanted = {"new": "new allocated", "replay": "replay replayed", "exhausted": "new exhausted"}
        if not any(outcomes[name] for name in wanted.values()):
            return Finding(["nobody was answered about a sandbox"], "nothing to compare")
        unsure = sum(tally.unanswered for tally in run.tallies)
        allocations = (
            Growth("sandboxes_allocations", {"outcome": outcome}, outcomes[name], outcomes[name] + unsure)
            for outcome, name in wanted.items()
        )
        return grown(seen.metrics.get(), *allocations)


STUDENTS: Final = Workload(StudentRequests, CallRecord, CallRecord.from_dict, SeededPool)
