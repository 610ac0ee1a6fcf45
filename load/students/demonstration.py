"""The demonstration of the broker: students come, wait, work, give back, or vanish; the provider is slow and fails."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import gevent
import psycopg

from harness.http.client import Transport, TransportError
from harness.provider.server import ProviderControl, ProviderError
from harness.settings import Target
from harness.verdict.thresholds import Status
from harness.waiting import WaitTimeout, eventually
from load.closed_loop import User
from load.engine import NotReady
from load.measurements.run import in_short
from load.progress import Now
from load.students.closed_loop import StudentLoop
from load.students.demonstration_criteria import CRITERIA
from load.students.lanes import POOL_EVERY_S
from load.students.observer import Observer
from load.students.run import Ending
from load.students.student import Student
from load.students.visits import Visit, visits
from load.workloads.students import REPEAT, Demonstration

_SYNC_WITHIN_S: Final = 15.0
# What the provider answers, in turn: it takes its time, and every fifth deletion and every fourth list fail.
_DELETIONS: Final = [{"status": 204, "delay_s": 0.8, "times": 4}, {"status": 500, "delay_s": 0.2}] * 100
_LISTS: Final = [{"status": 200, "delay_s": 0.4, "times": 3}, {"status": 502, "delay_s": 0.1}] * 500
_BUSY: Final = ("allocated", "pending_deletion", "deleting")
_ENDINGS: Final = (
    "SELECT a.track_id, a.sandbox_id, s.status, extract(epoch FROM a.ended_at)::float8, a.end_reason"
    " FROM allocations AS a JOIN sandboxes AS s USING (sandbox_id) WHERE starts_with(a.track_id, %s)"
)


class DemonstrationLoop(StudentLoop):
    """A user is one student."""

    criteria = CRITERIA

    def __init__(self, scenario: Demonstration, target: Target, admin: Transport, seed: int | None = None) -> None:
        super().__init__(scenario, target, admin, seed)
        self.show = scenario
        self.observer = Observer(self.run, target, self.client, None)
        self._visits = visits(scenario, random.Random(f"{self.run.seed}/visits"))
        self._provider: ProviderControl | None = None

    @property
    def patience_s(self) -> float:
        return self.show.duration_s + self.show.settle_s

    def equip(self) -> str:
        """Make the keys, have the provider list the first sandboxes, wait for the sync that brings them."""
        url, control = self.target.database_url, self.target.provider_control_url
        if url is None or control is None:
            needs = "needs DATABASE_URL and NEXMDM_PROVIDER_CONTROL_URL, the control of a fake provider"
            raise NotReady(needs, Status.INCONCLUSIVE)
        self.make_keys(url)
        self._provider = ProviderControl(control)
        first, *_ = self._portions()
        self._provider.add(first)
        try:
            eventually(lambda: self.pool()["available"] >= first, _SYNC_WITHIN_S, what="a sync")
        except WaitTimeout:
            why = f"no sync within {_SYNC_WITHIN_S:g} s has brought what the provider lists"
            own = "a backend that `nox -s sandboxes` starts has one every 2 s"
            raise NotReady(f"{why}; {own}", Status.INCONCLUSIVE) from None
        self._provider.script("delete", _DELETIONS)
        self._provider.script("list", _LISTS)
        return f"{first} of {self.show.sandboxes} sandboxes are listed; the others come later"

    def _portions(self) -> list[int]:
        each = len(self.show.portions)
        return [(self.show.sandboxes + number) // each for number in range(each)]

    def clear_away(self) -> None:
        """Leave a provider that answers, and no key."""
        super().clear_away()
        if self._provider is not None:
            self._provider.up()
            self._provider.script("delete", [])
            self._provider.script("list", [])

    # --- a student ---------------------------------------------------------------------------------------------------

    def play(self, user: User, begun_at: float) -> None:
        """One visit."""
        visit = self._visits[user.number]
        self.pause_until(begun_at + visit.arrives_s)
        student = self.student(user.client, visit.lab)
        self.run.visits[student.track_id] = visit
        for _ in range(2 if visit.returns else 1):
            if not self._wait(user, student, visit):
                return
            self._work(user, student, visit)
            if visit.vanishes or student.held is None:
                return
            student.release()
            self._pause(user)

    def _wait(self, user: User, student: Student, visit: Visit) -> bool:
        """Ask until there is a sandbox, or the time is over."""
        if visit.impatient:
            gevent.joinall([self.greenlets.spawn(student.allocate) for _ in range(2)], raise_error=True)
        else:
            student.allocate()
        while student.held is None and self.elapsed_s() < self.show.duration_s:
            self._pause(user)
            student.allocate()
        return student.held is not None

    def _work(self, user: User, student: Student, visit: Visit) -> None:
        """Look now and then, ask once more, keep it for longer before its time is over."""
        until = self.run.clock.now() + visit.works_s
        half_s = 0.0 if student.held is None else (student.held.expires_at - student.held.allocated_at) / 2
        while (held := student.held) is not None and (now := self.run.clock.now()) < until:
            if held.expires_at - now < min(half_s, until - now + 2 * self.show.pause_s[1]):
                student.extend()
            elif user.rng.random() < 0.5:
                student.view()
            else:
                student.allocate(timed_as=REPEAT)
            self._pause(user)

    def _pause(self, user: User) -> None:
        gevent.sleep(user.rng.uniform(*self.show.pause_s))

    # --- what goes on around them ------------------------------------------------------------------------------------

    def conduct(self) -> None:
        """Lead the students through; then read what became of each allocation, and what the provider was asked."""
        super().conduct()
        if not self.run.is_ready or self._provider is None or self.target.database_url is None:
            return
        with psycopg.connect(self.target.database_url, connect_timeout=10) as connection:
            connection.read_only = True
            rows = connection.execute(_ENDINGS, (f"{self.run.tag}-",)).fetchall()
        self.run.endings = [Ending(*row) for row in rows]
        self.run.deletions = self._provider.calls("delete")
        self.run.listed = {str(account["csp_id"]) for account in self._provider.accounts()}

    def lead(self) -> None:
        """More sandboxes now and then, an outage of the provider; the pool is looked at until all is quiet."""
        helpers = [self.greenlets.spawn(self._guarded, act) for act in (self._supply, self._fail, self._watch)]
        self.wait_for("done", self.patience_s)
        self.run.enter("waiting until all is deleted")
        over = self.run.clock.now() + self.show.settle_s
        while self.run.clock.now() < over and self._is_busy():
            gevent.sleep(POOL_EVERY_S)
        gevent.killall(helpers)

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except (ProviderError, TransportError, ValueError) as error:
            self.run.doubts.append(f"what goes on around the students has ended: {in_short(error)}")

    def _supply(self) -> None:
        assert self._provider is not None, "prepared"
        for share, count in list(zip(self.show.portions, self._portions(), strict=True))[1:]:
            self._pause_until_share(share)
            self._provider.add(count)

    def _fail(self) -> None:
        assert self._provider is not None, "prepared"
        begins, ends = self.show.outage
        self._pause_until_share(begins)
        self._provider.down()
        self._pause_until_share(ends)
        self._provider.up()

    def _watch(self) -> None:
        while True:
            self.run.pool.append((self.run.clock.now(), self.pool()))
            gevent.sleep(POOL_EVERY_S)

    def _pause_until_share(self, share: float) -> None:
        assert self.run.begun_at is not None, "they have begun"
        self.pause_until(self.run.begun_at + share * self.show.duration_s)

    def _is_busy(self) -> bool:
        return bool(self.run.pool) and any(self.run.pool[-1][1].get(state, 0) for state in _BUSY)

    def now(self) -> Now:
        now, run = super().now(), self.run
        pool = run.pool[-1][1] if run.pool else {}
        served = len({call.track_id for call in run.given})
        parts = [f"{len(run.visits)} students came, {served} were given a sandbox"]
        parts += [f"{pool.get(state, 0)} {state.replace('_', ' ')}" for state in ("available", *_BUSY, "deleted")]
        shown = " · ".join([*parts, *([f"{run.wrong.total()} wrong"] if run.wrong else [])])
        line = f" {now.done:.0f}/{now.total:g} s · {shown}" if run.begun_at is not None and now.total else ""
        return Now(now.phase, shown, now.done, now.total, line)
