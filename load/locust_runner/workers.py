"""The workers of a Locust master as a crew: the master's side and the worker's. It plans nothing.

Messages go from the master to each worker (outfit, leg) and back (tally); device tokens travel in them and are never
written anywhere. Workers must share the master's clock, hence in effect its machine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gevent
from gevent.event import AsyncResult
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from load.arrival_rate.generator import Outfit
from load.arrival_rate.process import Sender, SenderLost
from load.arrival_rate.schedule import Leg
from load.arrival_rate.workers import Progress
from load.measurements.tally import Tally

OUTFIT, LEG, TALLY, PROGRESS = "load.outfit", "load.leg", "load.tally", "load.progress"
_REPORT_WITHIN_S = 30.0  # after the last time-out: merging and sending a tally takes a second or so
_LOOK_EVERY_S = 0.2


class Workers:
    """The master's side: all workers that are connected when the devices are handed out."""

    def __init__(self, runner: MasterRunner) -> None:
        self._runner = runner
        self._ids: Sequence[str] = ()
        self._timeout_s = 0.0
        self._awaited: dict[str, AsyncResult[dict[str, Any]]] = {}
        self._progress: dict[str, Progress] = {}
        runner.register_message(TALLY, self._on_tally)
        runner.register_message(PROGRESS, self._on_progress)

    def equip(self, outfit: Outfit) -> None:
        self._ids = sorted(client.id for client in self._runner.clients.all)
        self._timeout_s = outfit.timeout_s
        if not self._ids:
            raise SenderLost("no worker is connected")
        for index, client_id in enumerate(self._ids):
            own = outfit.tokens[index :: len(self._ids)]
            part = replace(outfit, tokens=own, index=index, processes=len(self._ids))
            self._runner.send_message(OUTFIT, part.to_dict(), client_id)

    def run(self, leg: Leg) -> Tally:
        self._awaited = {client_id: AsyncResult() for client_id in self._ids}
        self._progress = {}
        for client_id in self._ids:
            self._runner.send_message(LEG, leg.to_dict(), client_id)
        # A warm-up that is held back ends when it ends, as long as its workers live.
        longest_s = leg.duration_s * (10 if leg.at_once else 1) + self._timeout_s + _REPORT_WITHIN_S
        deadline = time.monotonic() + longest_s
        while silent := {client_id for client_id, result in self._awaited.items() if not result.ready()}:
            lost = silent & {client.id for client in self._runner.clients.missing}
            if lost or time.monotonic() > deadline:
                raise SenderLost(f"{len(lost or silent)} of {len(self._ids)} workers did not report")
            gevent.sleep(_LOOK_EVERY_S)
        tallies = [Tally.from_dict(result.get() or {}) for result in self._awaited.values()]
        for other in tallies[1:]:
            tallies[0].merge(other)
        return tallies[0]

    def progress(self) -> Progress:
        parts = list(self._progress.values())
        return Progress(sum(p.sent for p in parts), sum(p.answered for p in parts), sum(p.failed for p in parts))

    def partial(self) -> None:
        """Workers tell numbers while a leg runs, and their times at its end."""

    def stop(self) -> None:
        """Nothing: they end with the master, which tells them to quit."""

    def _on_tally(self, msg: Any, **_: Any) -> None:
        if msg.node_id in self._awaited:
            self._awaited[msg.node_id].set(msg.data)

    def _on_progress(self, msg: Any, **_: Any) -> None:
        self._progress[msg.node_id] = Progress(**msg.data)


class Worker:
    """The worker's side: does what the master says, by a sending process of its own."""

    def __init__(self, runner: WorkerRunner) -> None:
        self._runner = runner
        self._sender: Sender | None = None
        runner.register_message(OUTFIT, self._on_outfit)
        runner.register_message(LEG, self._on_leg, concurrent=True)

    def stop(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.stop()

    def _on_outfit(self, environment: Environment, msg: Any) -> None:  # noqa: ARG002  # named by Locust
        self.stop()  # that of the run before, on Locust's page
        self._sender = Sender(Outfit.from_dict(msg.data))

    def _on_leg(self, environment: Environment, msg: Any) -> None:  # noqa: ARG002  # named by Locust
        assert self._sender is not None, "an outfit comes first"
        self._runner.send_message(TALLY, self._sender.run(Leg.from_dict(msg.data), self._on_progress))

    def _on_progress(self, counted: Mapping[str, int]) -> None:
        self._runner.send_message(PROGRESS, dict(counted))
