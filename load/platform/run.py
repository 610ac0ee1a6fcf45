"""The record of the demonstration of the platform: what was asked and answered, of each task, agent, file and zone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from load.measurements.timed_run import TimedRun
from load.workloads.platform import PlatformShow

ATTEMPTS: Final = 3  # that a task has


@dataclass
class Claim:
    """A task that an agent was given. Times are the server's. end: what the agent said; status: what the answer did.
    Both are empty where the agent fell silent."""

    agent: str
    attempt: int
    token: str
    asked_at: float
    answered_at: float
    end: str = ""
    status: str = ""
    ended_at: tuple[float, float] | None = None  # asked, answered


@dataclass
class Task:
    """A task by its name; task_id: empty until an answer tells it. tier: the place of its priority.

    fails: how many attempts are to fail; final: the first for good. order: its place in the backlog of its zone; None:
    it came later.
    """

    name: str
    zone: str
    tier: int
    fails: int
    final: bool
    order: int | None
    submitted_at: float
    task_id: str = ""
    claims: list[Claim] = field(default_factory=list)

    @property
    def status(self) -> str:
        """As the answers tell."""
        last = self.claims[-1] if self.claims else None
        return "queued" if last is None else last.status or "running"

    def may_be_left(self, claim: Claim) -> bool:
        """Whether the task ends as it would have if nobody ends this attempt: another one follows, and decides."""
        return not self.final and claim.attempt < ATTEMPTS

    @property
    def is_over(self) -> bool:
        return self.status in ("completed", "failed")


@dataclass
class Worker:
    """An agent. moments: what it did, and when. A time is None where it did not happen."""

    name: str
    zone: str
    enrolled_at: float
    generation: int = 0
    ready_at: float | None = None
    silent_at: float | None = None
    heartbeats: int = 0
    last_at: float = 0.0
    moments: list[tuple[str, float]] = field(default_factory=list)

    def note(self, event: str, at: float) -> None:
        """Keep a moment."""
        self.moments.append((event, at))
        self.last_at = max(self.last_at, at)


class FileCall(NamedTuple):
    """An acknowledged change of a file, as its event must tell it."""

    type: str
    path: str
    new_path: str | None
    asked_at: float
    answered_at: float


@dataclass
class ZoneStory:
    """events: as the tailing reader has got them. files: what must be there, with its etag. planned: no more tasks
    come. ends_at: when its deletion was asked for."""

    name: str
    zone_id: str
    key: str = field(repr=False)
    changes: list[FileCall] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    planned: bool = False
    ends_at: float | None = None


@dataclass
class Deletion:
    """What the deleted zone had just before, and what is left: rows by table, objects, the status of its key. objects:
    None: nobody could look."""

    running: int = 0
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] | None = None
    objects_before: int | None = None
    objects_after: int | None = None
    took_s: float = 0.0
    key_status: int = 0


@dataclass
class Sent:
    """The upload: the digest of what was sent, and of what was read; where it went on after the cut."""

    path: str = ""
    size: int = 0
    sent: str = ""
    read: str = ""
    cut_at: int | None = None
    resumed_at: int | None = None


@dataclass
class Mounting:
    """The mounted directory. sent: what was written through it, found: what lay in it then, both by name; took_s: until
    it was all there. foreign: what somebody else put there, and what was read of it. ours, theirs: of the file that
    both changed; while_open: what the zone and the directory had of it then; kept: what is read of both in the
    end. left: paths below it that are listed when it is removed.
    """

    sent: dict[str, str] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)
    took_s: float = 0.0
    foreign: str = "put there by somebody else"
    foreign_read: str = ""
    ours: str = "as a member wants it"
    theirs: str = "as somebody else wants it"
    while_open: tuple[str, str] | None = None
    kept: tuple[str, str] | None = None
    open_after: int = 0
    left: list[str] = field(default_factory=list)

    @property
    def is_delivered(self) -> bool:
        return self.found == self.sent


@dataclass
class PlatformRun(TimedRun):
    """zones: by name. looks: how often a zone was asked for what is another's; trespasses: when it was told."""

    scenario: PlatformShow
    zones: dict[str, ZoneStory] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    upload: Sent = field(default_factory=Sent)
    looks: int = 0
    trespasses: list[str] = field(default_factory=list)
    deletion: Deletion = field(default_factory=Deletion)
    mounting: Mounting = field(default_factory=Mounting)

    def tasks_of(self, zone: str) -> list[Task]:
        return [task for task in self.tasks.values() if task.zone == zone]

    def lasting(self) -> Iterator[ZoneStory]:
        """The zones that are not deleted."""
        return (zone for zone in self.zones.values() if zone.ends_at is None)

    def is_worked_off(self, zone: ZoneStory) -> bool:
        """All its tasks are submitted and over, or the zone ends."""
        return zone.ends_at is not None or (zone.planned and all(task.is_over for task in self.tasks_of(zone.name)))
