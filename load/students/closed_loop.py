"""What all scenarios of students share: keys, a seeded pool, its end. It judges nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from harness import api_keys
from harness.http.client import Client, Transport
from harness.sandboxes import seeding
from harness.settings import Target
from harness.verdict.thresholds import Status
from load.closed_loop import ClosedLoop
from load.engine import NotReady
from load.progress import Now
from load.students.observer import Observations, Observer, pool_now
from load.students.run import StudentRun
from load.students.student import Student
from load.students.thresholds import CRITERIA
from load.workloads.students import ALLOCATE, Students


class StudentLoop(ClosedLoop[StudentRun, Observations]):
    """Users who play one track after another."""

    criteria = CRITERIA

    def __init__(self, scenario: Students, target: Target, admin: Transport, seed: int | None = None) -> None:
        super().__init__(StudentRun.of(scenario, target, seed), target, admin)
        self.observer = Observer(self.run, target, self.client, self.run.id)
        self._numbers: Iterator[int] = count()
        self._key = self._admin_key = ""
        self._seeded = False

    def equip(self) -> str:
        """Make the keys, seed the pool."""
        url, scenario = self.target.database_url, self.run.scenario
        if url is None:
            raise NotReady(
                "needs DATABASE_URL: sandboxes are seeded, and what was given is read there", Status.INCONCLUSIVE
            )
        self.make_keys(url)
        seeding.seed(url, self.run.id, scenario.sandboxes)
        self._seeded = True
        return f"{scenario.sandboxes} sandboxes"

    def make_keys(self, url: str) -> None:
        """For students and for an admin. NotReady: others have sandboxes in the pool."""
        self._key, self._admin_key = api_keys.insert_key(url, "track"), api_keys.insert_key(url, "admin")
        self.run.secrets += [self._key, self._admin_key]
        if free := self.pool()["available"]:
            others = f"{free} sandboxes are free already, and this run would give them away"
            raise NotReady(f"{others}; it needs a deployment whose pool has none", Status.INCONCLUSIVE)

    def clear_away(self) -> None:
        """Remove the sandboxes that were seeded, with their allocations, and the keys."""
        url = self.target.database_url
        for secret in filter(None, (self._key, self._admin_key)):
            assert url is not None, "it made the keys"
            api_keys.delete_key(url, secret)
        if url is not None and self._seeded:
            seeding.remove(url, self.run.id)

    def pool(self) -> dict[str, int]:
        """How many sandboxes are in each state, as an admin is told. TransportError, ValueError."""
        return pool_now(self.client, self._admin_key, f"{self.run.tag}-pool")

    def student(self, client: Client, lab: str) -> Student:
        """A new track."""
        return Student(self.run, client, self._key, f"{self.run.tag}-{next(self._numbers)}", lab)

    def now(self) -> Now:
        run, scenario = self.run, self.run.scenario
        total = scenario.duration_s or None
        done_s = 0.0 if run.begun_at is None else run.clock.now() - run.begun_at
        shown = figures(run)
        line = f" {done_s:.0f} s · {shown}" if run.begun_at is not None else ""
        return Now(run.phase, shown, min(done_s, total or done_s), total, line)


def figures(run: StudentRun) -> str:
    """The run in one line."""
    p95_ms = run.timings().whole(ALLOCATE).percentile_ms(0.95)
    parts = [f"{run.outcomes.total()} asked", f"{run.outcomes[201]} new", f"{run.outcomes[200]} the same again"]
    parts += [f"{run.outcomes[409]} refused", "p95 -" if p95_ms is None else f"p95 {p95_ms:.1f} ms"]
    return " · ".join(parts + ([f"{run.wrong.total()} wrong"] if run.wrong else []))
