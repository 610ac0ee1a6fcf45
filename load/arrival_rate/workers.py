"""Who sends the beats of a leg: the protocol, and one sending process. It plans nothing.

Several processes: load/locust_runner/workers.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from load.arrival_rate.generator import Outfit
from load.arrival_rate.process import Sender
from load.arrival_rate.schedule import Leg
from load.measurements.tally import Tally


@dataclass
class Progress:
    """What is known of the present leg while it runs."""

    sent: int = 0
    answered: int = 0
    failed: int = 0


class Crew(Protocol):
    """One or more processes that send the beats of a leg."""

    def equip(self, outfit: Outfit) -> None:
        """Give every process what it needs; the outfit holds the tokens of all devices."""
        ...

    def run(self, leg: Leg) -> Tally:
        """Send a leg and return what all processes together have counted. SenderLost."""
        ...

    def progress(self) -> Progress: ...

    def partial(self) -> Tally | None:
        """What is known of a leg that was cut short."""
        ...

    def stop(self) -> None: ...


class Alone:
    """One sending process, of this one."""

    def __init__(self) -> None:
        self._sender: Sender | None = None
        self._progress = Progress()

    def equip(self, outfit: Outfit) -> None:
        self._sender = Sender(outfit)

    def run(self, leg: Leg) -> Tally:
        assert self._sender is not None, "equip comes first"
        self._progress = Progress()
        tally = Tally.from_dict(self._sender.run(leg, self._on_progress))
        self._progress = Progress(tally.sent, tally.answered, tally.failed)
        return tally

    def progress(self) -> Progress:
        return self._progress

    def partial(self) -> Tally | None:
        counted = self._sender.cut_short() if self._sender else None
        return None if counted is None else Tally.from_dict(counted)

    def stop(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.stop()

    def _on_progress(self, counted: Mapping[str, int]) -> None:
        self._progress = Progress(**counted)
