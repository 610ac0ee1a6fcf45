"""The pool that the students of an arrival rate ask: seeded under the run's id, verified and removed afterwards."""

from __future__ import annotations

import base64
import contextlib
import hmac
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import gevent
import psycopg

from harness.devices.seeded_fleet import read_key
from harness.http.client import Answer, Client
from harness.http.transport import TransportError
from harness.provider.server import ProviderControl
from harness.sandboxes import seeding
from harness.sandboxes.calls import Call, write_calls
from harness.sandboxes.course import course
from harness.sandboxes.keys import Role, delete_key, insert_key
from harness.sandboxes.verify import snapshot, verify
from harness.settings import SettingsError, Target
from harness.verdict.artifacts import write_json
from harness.verdict.thresholds import Check
from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.students import StudentRequests
from load.arrival_rate.workload import LOG_ERRORS, Assignment, Checks, Observations, Subject, Workload
from load.measurements.observations import Before, count_errors, needs, observed
from load.measurements.server_clock import ServerClock, from_database
from load.verdict.check import Finding, RunCheck, judged_elsewhere
from load.verdict.counters import Growth, grown
from load.workloads.call_record import CallRecord

Answers = Sequence[dict[str, Any]]
_ROLES: Final[tuple[Role, ...]] = ("track", "admin")
_ROUND_S: Final = 4.0  # of all jobs
_JOBS: Final = ("sync", "auto-expire", "cleanup", "auto-delete-stale")
# What the provider does to the list and to deletions, a round each: well, badly, slowly, not at all.
_LISTS: Final[Sequence[Answers]] = (
    [],
    [{"status": 500, "times": 0}],
    [{"delay_s": 1.0, "times": 0}],
    [{"body": b'{"results": []}', "content_type": "application/json", "times": 0}],
    [{"drop": True, "times": 0}],
)
_DELETES: Final[Sequence[Answers]] = (
    [],
    [{"status": 503, "every": 2, "times": 0}],
    [{"delay_s": 0.5, "times": 0}],
    [{"status": 429, "retry_after": 1, "times": 1}],
    [{"drop": True, "effect": True, "every": 3, "times": 0}],
)


class SeededPool(Subject):
    """SettingsError without a database: the pool is put into it."""

    def __init__(self, target: Target) -> None:
        if target.database_url is None:
            raise SettingsError("DATABASE_URL: not set; the sandboxes of a pool are put into the database")
        self.checks = CHECKS
        self._target, self._url = target, target.database_url
        self._client = Client(target.base_url, target.admin_key, target.hmac_secret)
        self._before = Before(target, self._client)
        self._label: str | None = None  # of what is in the pool for this run
        self._keys: list[str] = []
        self._calls: list[Call] = []
        self._course: dict[str, Any] | None = None

    def clock(self) -> ServerClock:
        """The database's, which decides. psycopg.Error."""
        return from_database(self._url)

    def begin(self, run: ArrivalRateRun) -> None:
        """TransportError, ValueError: the target does not tell its counters."""
        self._before.note(f"{run.tag}-before")

    def seed(self, whole: Assignment) -> None:
        """Keys and sandboxes. psycopg.Error, SeedingError."""
        for role, secret in zip(_ROLES, self.tokens(whole), strict=True):
            self._keys.append(insert_key(self._url, role, secret))
        self._fill(whole)

    def _fill(self, whole: Assignment) -> None:
        self._label = whole.run.rpartition("-")[2]
        seeding.seed(self._url, self._label, whole.devices)

    def settle(self) -> None:
        """The rows that a warm-up has left dead go now, not when the database thinks so."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE) sandboxes, allocations")

    def tokens(self, part: Assignment) -> list[str]:
        """The two keys, which follow from the database's own. psycopg.Error."""
        key = read_key(self._url)
        drawn = (hmac.digest(key, f"{role} {part.run}".encode(), "sha256") for role in _ROLES)
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
            while self._keys:
                delete_key(self._url, self._keys.pop())

    def _provider(self) -> ProviderControl | None:
        """The one that V9 is to be judged by."""
        return None

    def _verified(self, run: ArrivalRateRun) -> Sequence[Check]:
        """Judged by rows, record and, where it is a fake, provider."""
        self._calls = list(record(run).calls())
        with snapshot(self._url) as connection:
            now = run.clock.now()
            self._course = course(run.scenario.name, connection, self._calls, run.started_at, now)
        seeded = run.scenario.devices if self._label else None
        found = verify(self._url, self._calls, label=self._label, seeded=seeded, provider=self._provider())
        return found.checks


class ListedPool(SeededPool):
    """One that the provider lists and a sync has filled, beside whose students all jobs run and the provider fails."""

    def __init__(self, target: Target) -> None:
        """SettingsError: also where the provider is no fake."""
        super().__init__(target)
        if target.provider_control_url is None:
            raise SettingsError("NEXMDM_PROVIDER_CONTROL_URL: not set; only a fake provider can be told to fail")
        self._fake = ProviderControl(target.provider_control_url)
        self._jobs: Counter[str] = Counter()

    def _provider(self) -> ProviderControl:
        return self._fake

    def _fill(self, whole: Assignment) -> None:
        self._fake.add(whole.devices)
        said = self._admin("sync")
        if said.status != 200 or said.json()["synced"] != whole.devices:
            raise SettingsError(f"the first sync answered {said.status} {said.body[:200]!r}")

    @contextlib.contextmanager
    def disturbed(self) -> Iterator[None]:
        """Every job again and again, while the provider is slow, fails and hangs in turn."""
        rounds = gevent.spawn(self._rounds)
        try:
            yield
        finally:
            rounds.kill()
            self._fake.script("list", [])
            self._fake.script("delete", [])

    def _rounds(self) -> None:
        for number in itertools.count():
            self._fake.script("list", _LISTS[number % len(_LISTS)])
            self._fake.script("delete", _DELETES[number % len(_DELETES)])
            for job in _JOBS:
                gevent.sleep(_ROUND_S / len(_JOBS))
                with contextlib.suppress(TransportError):
                    self._jobs[f"{job} {self._admin(job).status}"] += 1

    def _admin(self, job: str) -> Answer:
        return self._client.bearer(self._keys[_ROLES.index("admin")], "POST", f"/v1/admin/{job}")


def record(run: ArrivalRateRun) -> CallRecord:
    """The calls of all legs."""
    calls = CallRecord()
    for tally in run.tallies:
        assert isinstance(tally.ledger, CallRecord)
        calls.merge(tally.ledger)
    return calls


def _counters(run: ArrivalRateRun, seen: Observations) -> Finding:
    needs(run, "process")
    outcomes = record(run).outcomes
    wanted = {"new": "new allocated", "replay": "replay replayed", "exhausted": "new exhausted"}
    if not any(outcomes[name] for name in wanted.values()):
        return Finding(["nobody was answered about a sandbox"], "nothing to compare")
    unsure = sum(tally.unanswered for tally in run.tallies)
    allocations = (
        Growth("sandboxes_allocations", {"outcome": outcome}, outcomes[name], outcomes[name] + unsure)
        for outcome, name in wanted.items()
    )
    return grown(seen.metrics.get(), *allocations)


CHECKS: Checks = (
    RunCheck("counters", "the counters of allocations grew by what was answered", _counters),
    LOG_ERRORS,
)
_workload = partial(Workload, StudentRequests, CallRecord, CallRecord.from_dict)
STUDENTS: Final = _workload(SeededPool)
STUDENTS_BESIDE_JOBS: Final = _workload(ListedPool)
