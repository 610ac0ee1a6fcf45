"""Who sends the beats of a leg: the protocol, and this process alone. It plans nothing.

Several processes: locust_crew.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from load.arrival_rate.generator import Generator, Outfit
from load.arrival_rate.schedule import Leg
from load.measurements.tally import Tally


class CrewLost(Exception):
    """A process that had to send is gone, or does not report. The message is for people."""


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
        """Send a leg and return what all processes together have counted. CrewLost."""
        ...

    def progress(self) -> Progress: ...

    def partial(self) -> Tally | None:
        """What is known of a leg that was cut short."""
        ...

    def stop(self) -> None: ...


def progress_of(tally: Tally) -> Progress:
    """What a leg has come to."""
    return Progress(tally.sent, tally.answered, tally.failed)


class Alone:
    """This process."""

    def __init__(self) -> None:
        self._generator: Generator | None = None

    def equip(self, outfit: Outfit) -> None:
        self._generator = Generator(outfit)

    def run(self, leg: Leg) -> Tally:
        assert self._generator is not None, "equip comes first"
        return self._generator.run(leg)

    def progress(self) -> Progress:
        return progress_of(self._generator.tally) if self._generator else Progress()

    def partial(self) -> Tally | None:
        return self._generator.tally if self._generator else None

    def stop(self) -> None:
        if self._generator is not None:
            self._generator.stop()
