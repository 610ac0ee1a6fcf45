"""Which files writes must leave behind, with what events and usage, as far as the answers tell."""

from __future__ import annotations

import random
import string
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, NamedTuple, Self

from load.workloads.faults import counted

SIZE: Final = 1024
_TEXTS: Final = 64
_DIRECTORIES: Final = 16


class Text(NamedTuple):
    """What a file may consist of, and the etag that this gives it."""

    text: str
    etag: str


class Stored(NamedTuple):
    """A file as something tells it."""

    path: str
    size: int
    etag: str


class Logged(NamedTuple):
    """An event as something tells it."""

    number: int
    type: str
    path: str


class Usage(NamedTuple):
    """What a zone is charged for."""

    used_bytes: int
    files: int


@dataclass(frozen=True)
class ZoneFound:
    """A zone after a run. files, events, charged: as the tables have them, with etags made of the contents that are
    stored; listed, replayed, shown: as the service tells them. last_event: the number that the zone stands at."""

    files: Sequence[Stored]
    events: Sequence[Logged]
    charged: Usage
    last_event: int
    listed: Sequence[Stored]
    replayed: Sequence[Logged]
    shown: Usage


def texts(seed: int) -> list[Text]:
    """The contents of a run, in turns of the files' numbers."""
    rng, letters = random.Random(seed), string.ascii_letters + string.digits
    drawn = ["".join(rng.choices(letters, k=SIZE)) for _ in range(_TEXTS)]
    return [Text(text, sha256(text.encode()).hexdigest()) for text in drawn]


def path_of(number: int) -> str:
    return f"/load/{number % _DIRECTORIES}/{number}"


@dataclass
class WriteRecord:
    """The numbers of files whose write was acknowledged, and of those that may be there. A number is of one zone:
    number % zones. refusals: how often a write was answered with which error."""

    acknowledged: set[int] = field(default_factory=set)
    unsure: set[int] = field(default_factory=set)
    refusals: Counter[str] = field(default_factory=Counter)

    def merge(self, other: WriteRecord) -> None:
        self.acknowledged |= other.acknowledged
        self.unsure |= other.unsure
        self.refusals.update(other.refusals)

    def of_zone(self, zone: int, zones: int) -> tuple[set[str], set[str]]:
        """The paths that must be there, and those that may."""
        sure, unsure = (
            {path_of(one) for one in numbers if one % zones == zone} for numbers in (self.acknowledged, self.unsure)
        )
        return sure, sure | unsure

    def to_dict(self) -> dict[str, Any]:
        """For a message between processes."""
        numbers = {name: array("Q", sorted(getattr(self, name))).tobytes() for name in ("acknowledged", "unsure")}
        return numbers | {"refusals": dict(self.refusals)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        sure, unsure = (set(array("Q", document[name])) for name in ("acknowledged", "unsure"))
        return cls(sure, unsure, Counter(document["refusals"]))


def file_faults(record: WriteRecord, found: Sequence[ZoneFound], seed: int) -> list[str]:
    """What is wrong with the files of the zones, which stand in the order of their numbers."""
    etags = [text.etag for text in texts(seed)]
    faults = []
    for zone, seen in enumerate(found):
        wanted, possible = record.of_zone(zone, len(found))
        there = {file.path for file in seen.files}
        faults += _counted(zone, "acknowledged writes without a file", wanted - there)
        faults += _counted(zone, "files that nobody wrote", there - possible)
        faults += _counted(zone, "files of another content", _others(seen.files, etags))
        faults += _differ(zone, "the list of files and the table", seen.listed, seen.files)
    return faults


def event_faults(found: Sequence[ZoneFound]) -> list[str]:
    """What is wrong with the log of the zones: one write for each file, numbered without a gap, replayed as it is."""
    faults = []
    for zone, seen in enumerate(found):
        wanted = list(range(1, seen.last_event + 1))
        if [event.number for event in seen.events] != wanted:
            faults.append(f"zone {zone}: {len(seen.events)} events are not numbered 1 to {seen.last_event}")
        logged = Counter(event.path for event in seen.events if event.type == "write")
        files = Counter(file.path for file in seen.files)
        faults += _counted(zone, "files without an event of their own", files - logged)
        faults += _counted(zone, "events of no file", logged - files)
        faults += _counted(zone, "events of another type", [one for one in seen.events if one.type != "write"])
        if list(seen.replayed) != list(seen.events):
            faults.append(f"zone {zone}: {len(seen.replayed)} events are replayed, which are not those of the table")
    return faults


def usage_faults(found: Sequence[ZoneFound]) -> list[str]:
    """Where a zone is charged for something else than the files that it has."""
    faults = []
    for zone, seen in enumerate(found):
        wanted = Usage(sum(file.size for file in seen.files), len(seen.files))
        for source, told in (("is charged for", seen.charged), ("shows", seen.shown)):
            if told != wanted:
                faults.append(
                    f"zone {zone} {source} {told.used_bytes} bytes of {told.files} files,"
                    f" but has {wanted.used_bytes} of {wanted.files}"
                )
    return faults


def _others(files: Iterable[Stored], etags: Sequence[str]) -> list[Stored]:
    def right(file: Stored) -> bool:
        number = int(file.path.rpartition("/")[2])
        return (file.size, file.etag) == (SIZE, etags[number % _TEXTS])

    return [file for file in files if not right(file)]


def _differ(zone: int, what: str, one: Sequence[Stored], other: Sequence[Stored]) -> list[str]:
    return [] if sorted(one) == sorted(other) else [f"zone {zone}: {what} differ: {len(one)} and {len(other)}"]


def _counted(zone: int, what: str, some: Any) -> list[str]:
    return [f"zone {zone}: {fault}" for fault in counted(what, some)]
