"""Workers that Locust connects, as those of a run: the master's side and the worker's. It plans nothing.

Messages go from the master to each worker (its part, the legs) and back (that it is ready, its tally). No secret and no
clock is in them: a worker may be on another machine, and derives both from its own environment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import gevent
from gevent.event import AsyncResult
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from load.arrival_rate.process import Sender, SenderLost
from load.arrival_rate.schedule import Leg
from load.arrival_rate.workers import Progress, Source, reader
from load.arrival_rate.workload import Assignment
from load.measurements.run import in_short
from load.measurements.tally import Tally

PART, READY, LEG, TALLY, PROGRESS = "load.part", "load.ready", "load.leg", "load.tally", "load.progress"
_READY_WITHIN_S = 60.0
_REPORT_WITHIN_S = 30.0  # after the last time-out: merging and sending a tally takes a second or so
_LOOK_EVERY_S = 0.2


class LocustWorkers:
    """The master's side: all workers that are connected when the devices are handed out."""

    def __init__(self, runner: MasterRunner) -> None:
        self._runner = runner
        self._ids: Sequence[str] = ()
        self._timeout_s = 0.0
        self._awaited: dict[str, AsyncResult[Any]] = {}
        self._progress: dict[str, Progress] = {}
        runner.register_message(READY, self._on_answer)
        runner.register_message(TALLY, self._on_answer)
        runner.register_message(PROGRESS, self._on_progress)

    def configure(self, assignment: Assignment) -> None:
        missing = {client.id for client in self._runner.clients.missing}
        self._ids = sorted({client.id for client in self._runner.clients.all} - missing)
        self._timeout_s, self._read = assignment.timeout_s, reader(assignment)
        if not self._ids:
            raise SenderLost("no worker is connected")
        parts = [replace(assignment, index=index, processes=len(self._ids)) for index in range(len(self._ids))]
        for answer in self._ask(PART, [part.to_dict() for part in parts], _READY_WITHIN_S):
            if answer["trouble"]:
                raise SenderLost(f"a worker cannot send: {answer['trouble']}")

    def run(self, leg: Leg) -> Tally:
        self._progress = {}
        # A warm-up that is held back ends when it ends, as long as its workers live.
        longest_s = leg.duration_s * (10 if leg.at_once else 1) + self._timeout_s + _REPORT_WITHIN_S
        first, *others = map(self._read, self._ask(LEG, [leg.to_dict()] * len(self._ids), longest_s))
        for other in others:
            first.merge(other)
        return first

    def _ask(self, what: str, messages: Sequence[dict[str, Any]], within_s: float) -> list[Any]:
        """Send each worker its message and wait for all answers. SenderLost."""
        self._awaited = {client_id: AsyncResult() for client_id in self._ids}
        for client_id, message in zip(self._ids, messages, strict=True):
            self._runner.send_message(what, message, client_id)
        deadline = time.monotonic() + within_s
        while silent := {client_id for client_id, result in self._awaited.items() if not result.ready()}:
            lost = silent & {client.id for client in self._runner.clients.missing}
            if lost or time.monotonic() > deadline:
                raise SenderLost(f"{len(lost or silent)} of {len(self._ids)} workers did not report")
            gevent.sleep(_LOOK_EVERY_S)
        return [result.get() for result in self._awaited.values()]

    def progress(self) -> Progress:
        parts = list(self._progress.values())
        return Progress(sum(p.sent for p in parts), sum(p.answered for p in parts), sum(p.failed for p in parts))

    def partial(self) -> None:
        """LocustWorkers tell numbers while a leg runs, and their times at its end."""

    def stop(self) -> None:
        """Nothing: they end with the master, which tells them to quit."""

    def _on_answer(self, msg: Any, **_: Any) -> None:
        if msg.node_id in self._awaited:
            self._awaited[msg.node_id].set(msg.data)

    def _on_progress(self, msg: Any, **_: Any) -> None:
        self._progress[msg.node_id] = Progress(**msg.data)


class LocustWorker:
    """The worker's side: does what the master says, by a sending process of its own."""

    def __init__(self, runner: WorkerRunner, source: Callable[[], Source]) -> None:
        """source: raises what it is that its environment lacks."""
        self._runner, self._source = runner, source
        self._sender: Sender | None = None
        runner.register_message(PART, self._on_part)
        runner.register_message(LEG, self._on_leg, concurrent=True)

    def stop(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.stop()

    def _on_part(self, environment: Environment, msg: Any) -> None:  # noqa: ARG002  # named by Locust
        self.stop()  # that of the run before, on Locust's page
        trouble = ""
        try:
            self._sender = Sender(self._source().config(Assignment.from_dict(msg.data)))
        except Exception as error:  # noqa: BLE001  # whatever it was, the master must hear of it
            trouble = in_short(error)
        self._runner.send_message(READY, {"trouble": trouble})

    def _on_leg(self, environment: Environment, msg: Any) -> None:  # noqa: ARG002  # named by Locust
        assert self._sender is not None, "its part comes first"
        self._runner.send_message(TALLY, self._sender.run(Leg.from_dict(msg.data), self._on_progress))

    def _on_progress(self, counted: Mapping[str, int]) -> None:
        self._runner.send_message(PROGRESS, dict(counted))
