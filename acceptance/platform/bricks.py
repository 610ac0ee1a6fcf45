"""The parts of the platform as cases use them: looked at, changed, unmounted for a while."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from acceptance.platform.zones import Platform
from acceptance.system.match import accepted
from acceptance.system.system import System
from harness.http.client import Answer
from harness.waiting import WaitTimeout, eventually

BRICKS = "/api/v2/bricks"
NAMES = ("sync", "uploads", "mounts", "scheduler", "agents", "events", "files")  # as they are listed
NEEDS = {"mounts": ["files"], "sync": ["mounts"], "uploads": ["files"]}
NEEDED_BY = {"files": ["mounts", "uploads"], "mounts": ["sync"]}
TURNS = "nexmdm_platform_loop_turns_total"


def turns(system: System) -> dict[str, float]:
    """How many turns each loop has ended well."""
    return {dict(labels)["loop"]: value for (_, labels), value in system.metrics.read(TURNS).items()}


def first_turns(system: System) -> None:
    """Wait for the turn of each loop that is due at a start: with an interval of days there is no other.

    A loop that takes none is no error here: the cases of what it does are red without it.
    """
    with suppress(WaitTimeout):
        eventually(lambda: all(turns(system).values()), within_s=10.0)


def act(platform: Platform, name: str, action: str) -> Answer:
    """Mount, unmount or remount a part."""
    return platform.admin("POST", f"{BRICKS}/{name}/{action}")


def looked_at(platform: Platform, name: str) -> dict[str, Any]:
    """The part."""
    brick: dict[str, Any] = accepted(platform.admin("GET", f"{BRICKS}/{name}"))
    return brick


def with_dependents(name: str) -> list[str]:
    """What is unmounted before a part, and the part."""
    return [*(each for other in NEEDED_BY.get(name, []) for each in with_dependents(other)), name]


@contextmanager
def unmounted(platform: Platform, name: str) -> Iterator[list[str]]:
    """A part is unmounted during the block, after those that need it; which they are."""
    away = with_dependents(name)
    try:
        for one in away:
            accepted(act(platform, one, "unmount"))
        yield away
    finally:
        for one in reversed(away):
            accepted(act(platform, one, "mount"))
