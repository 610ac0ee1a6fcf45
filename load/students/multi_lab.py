"""Students of several labs, then a crowd at once, then some who are late (seed 003, "Multi-Student Load Test")."""

from __future__ import annotations

from gevent.event import Event

from harness.http.client import Transport
from harness.sandboxes.calls import ALLOCATE
from harness.settings import Target
from load.closed_loop import User
from load.students.closed_loop import StudentLoop
from load.students.thresholds import LABS_CRITERIA
from load.workloads.students import REPEAT, MultiLab


class LabsLoop(StudentLoop):
    """A user is one student; in each lab it is another track."""

    criteria = LABS_CRITERIA

    def __init__(self, scenario: MultiLab, target: Target, admin: Transport, seed: int | None = None) -> None:
        super().__init__(scenario, target, admin, seed)
        self.labs = scenario
        self._crowd = Event()
        self.settled["alone"] = 0

    @property
    def patience_s(self) -> float:
        requests = len(self.labs.labs) * self.labs.asks + 1
        return requests * self.labs.request_timeout_s

    def play(self, user: User, begun_at: float) -> None:  # noqa: ARG002  # all begin at once
        """Every lab in turn, then one more with all the others."""
        labs = self.labs.labs
        if user.number < self.labs.students:
            for lab in labs:
                student = self.student(user.client, lab)
                for number in range(self.labs.asks):
                    student.allocate(timed_as=REPEAT if number else ALLOCATE)
        self.settled["alone"] += 1
        self._crowd.wait()
        self.student(user.client, labs[user.number % len(labs)]).allocate(timed_as=ALLOCATE)

    def lead(self) -> None:
        """Call the crowd together; ask for more than there is."""
        self.wait_for("alone", self.patience_s)
        self.run.enter("a crowd at once")
        self._crowd.set()
        self.wait_for("done", self.labs.request_timeout_s + 5.0)
        for number in range(self.labs.late):
            lab = self.labs.labs[number % len(self.labs.labs)]
            self.student(self.client, lab).allocate(timed_as=ALLOCATE)

    def release(self) -> None:
        super().release()
        self._crowd.set()
