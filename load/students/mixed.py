"""Students with a pause between two requests: a new track, the same again, a look, a release (smoke, stress)."""

from __future__ import annotations

from harness.http.client import TransportError
from load.closed_loop import User
from load.students.closed_loop import StudentLoop
from load.students.student import Student
from load.workloads.students import RELEASE, REPEAT, STATS, VIEW, Mixed


class MixedLoop(StudentLoop):
    """Every user has one request on its way at a time."""

    @property
    def mixed(self) -> Mixed:
        assert isinstance(self.run.scenario, Mixed)
        return self.run.scenario

    @property
    def patience_s(self) -> float:
        return self.mixed.duration_s + self.mixed.request_timeout_s + 5.0

    def play(self, user: User, begun_at: float) -> None:
        """One request after another until the time is over."""
        run, scenario = self.run, self.mixed
        own: Student | None = None  # the last track that was given a sandbox
        due, over = begun_at, begun_at + scenario.duration_s
        while due < over:
            self.pause_until(due)
            own = self._request(user, own, due)
            due = run.clock.now() + user.rng.uniform(*scenario.pause_s)

    def _request(self, user: User, own: Student | None, due: float) -> Student | None:
        """Make the next request; returns the track that has a sandbox, if there is one."""
        what = self._drawn(user)
        if what == STATS:
            self._stats(due)
        elif own is None or what is None:
            student = self.student(user.client, user.rng.choice(self.mixed.labs))
            student.allocate(due)
            own = student if student.held else own
        elif what == REPEAT:
            own.allocate(due, REPEAT)
        elif what == VIEW:
            own.view(due)
        elif what == RELEASE:
            own.release(due)
        return own if own is not None and own.held else None

    def _drawn(self, user: User) -> str | None:
        """What is next; None: a new track."""
        drawn = user.rng.random()
        for what, share in self.mixed.shares:
            drawn -= share
            if drawn < 0:
                return what
        return None

    def _stats(self, due: float) -> None:
        """An admin's look at the pool."""
        clock, fault = self.run.clock, ""
        sent = clock.now()
        try:
            self.pool()
        except (TransportError, ValueError) as error:
            fault = str(error)
        self.run.timed(STATS, due, sent, clock.now(), fault)
