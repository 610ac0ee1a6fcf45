"""What all closed loops share: users who start together, what is done beside them, the end. It judges nothing."""

from __future__ import annotations

import random
from abc import abstractmethod
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import gevent
from gevent.event import AsyncResult

from harness.http.client import Client, Transport
from harness.settings import Target
from harness.verdict.cpu_contention import Strangers
from load.engine import Engine
from load.measurements.generator_cost import Meter
from load.measurements.run import in_short
from load.measurements.timed_run import TimedRun

RunT = TypeVar("RunT", bound=TimedRun)
Seen = TypeVar("Seen")
_BEGINNING_WITHIN_S: Final = 60.0


@dataclass
class User:
    """One user: its connection, its random numbers."""

    number: int
    client: Client
    rng: random.Random


class ClosedLoop(Engine[RunT, Seen], Generic[RunT, Seen]):
    """Users who each do one thing after another."""

    def __init__(self, run: RunT, target: Target, admin: Transport) -> None:
        super().__init__(run, target, admin)
        self._go: AsyncResult[float | None] = AsyncResult()

    @abstractmethod
    def play(self, user: User, begun_at: float) -> None:
        """Be this user until it has done all it wants to do."""

    def lead(self) -> None:
        """What the conductor does while the users play."""

    @property
    @abstractmethod
    def patience_s(self) -> float:
        """How long the users may play."""

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

    def elapsed_s(self) -> float:
        """Since the users began; 0 before."""
        return 0.0 if self.run.begun_at is None else self.run.clock.now() - self.run.begun_at
