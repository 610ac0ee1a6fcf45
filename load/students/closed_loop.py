"""What all scenarios of students share: a seeded pool, users who start together, the end. It judges nothing."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

import gevent
from gevent.event import AsyncResult

from harness import api_keys
from harness.http.client import Client, Transport
from harness.sandboxes import seeding
from harness.settings import Target
from harness.verdict.cpu_contention import Strangers
from harness.verdict.thresholds import Status
from load.engine import Engine, NotReady
from load.measurements.generator_cost import Meter
from load.measurements.run import in_short
from load.progress import Now
from load.students.observer import Observations, Observer, pool_now
from load.students.run import StudentRun
from load.students.student import Student
from load.students.thresholds import CRITERIA
from load.workloads.students import ALLOCATE, Students

_BEGINNING_WITHIN_S: Final = 60.0


@dataclass
class User:
    """One user: its connection, its random numbers."""

    number: int
    client: Client
    rng: random.Random


class ClosedLoop(Engine[StudentRun, Observations]):
    """Users who play one track after another."""

    criteria = CRITERIA

    def __init__(self, scenario: Students, target: Target, admin: Transport, seed: int | None = None) -> None:
        super().__init__(StudentRun.of(scenario, target, seed), target, admin)
        self.observer = Observer(self.run, target, self.client, self.run.id)
        self._go: AsyncResult[float | None] = AsyncResult()
        self._numbers: Iterator[int] = count()
        self._key = self._admin_key = ""
        self._seeded = False

    @abstractmethod
    def play(self, user: User, begun_at: float) -> None:
        """Be this user until it has done all it wants to do."""

    def lead(self) -> None:
        """What the conductor does while the users play."""

    @property
    @abstractmethod
    def patience_s(self) -> float:
        """How long the users may play."""

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

    def live(self, number: int, transport: Transport) -> None:
        """One user."""
        self.greenlets.spawn(self._live, number, transport).join()

    def _live(self, number: int, transport: Transport) -> None:
        self.arranged.wait()
        if not self.run.is_ready:
            return
        user = User(number, Client(transport), random.Random(f"{self.run.seed}/{number}"))
        self.settled["ready"] += 1
        try:
            begun_at = self._go.get()
            if begun_at is not None:
                self.play(user, begun_at)
        except Exception as error:  # noqa: BLE001  # a bug of the harness must not look like a quiet student
            self.run.doubts.append(f"user {number}: the harness broke: {in_short(error)}")
        finally:
            self.settled["done"] += 1

    def conduct(self) -> None:
        """Let all users begin at once, and wait for them."""
        run = self.run
        if not run.is_ready:
            self._go.set(None)
            return
        if not self.wait_for("ready", _BEGINNING_WITHIN_S):
            run.doubts.append(f"{run.scenario.devices - self.settled['ready']} users did not begin")
        others, meter = Strangers(self.target.backend_pid), Meter(0)
        run.begun_at = run.clock.now()
        run.enter("playing", run.begun_at)
        self._go.set(run.begun_at)
        leading = self.greenlets.spawn(self.lead)
        if not self.wait_for("done", self.patience_s):
            run.doubts.append("not every user came to its end in time")
        leading.join()
        run.other_cpu, run.generator_cost = others.share(), meter.read(run.requests)
        run.enter("looking at what it left behind")

    def pause_until(self, when: float) -> None:
        """Sleep until this server time."""
        gevent.sleep(max(0.0, when - self.run.clock.now()))

    def release(self) -> None:
        """Let every user that still waits go home."""
        if not self._go.ready():
            self._go.set(None)

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
