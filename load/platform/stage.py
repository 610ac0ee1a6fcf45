"""What a chapter of the demonstration is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.http.client import Client
from harness.settings import Target
from load.platform.caller import Caller
from load.platform.run import PlatformRun, ZoneStory
from load.workloads.platform import PlatformShow


@dataclass(frozen=True)
class Stage:
    """What a chapter is given. admin_key: of the platform's admin."""

    run: PlatformRun
    target: Target
    client: Client
    admin_key: str

    @property
    def zones(self) -> list[ZoneStory]:
        return list(self.run.zones.values())

    def member(self, story: ZoneStory) -> Caller:
        """A member of the zone."""
        return Caller(self.run, story, self.client, story.key)


@dataclass(frozen=True)
class Chapter:
    """at: the share of the duration at which it begins."""

    name: str
    at: Callable[[PlatformShow], float]
    play: Callable[[Stage], None]
