"""The calls of students as columns: half a million of them, which a sending process keeps and hands to the master."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from harness.sandboxes.calls import ALLOCATE, RELEASE, VIEW, Call

_KINDS: Final = (ALLOCATE, RELEASE, VIEW)
_NUMBERS: Final = ("kinds", "asked", "ended", "statuses", "allocated", "expires")
_NAMES: Final = ("tracks", "sandboxes")


@dataclass
class CallRecord:
    """One entry of each column for each call, and how often each kind of request had which outcome."""

    kinds: array[int] = field(default_factory=lambda: array("B"))
    asked: array[float] = field(default_factory=lambda: array("d"))
    ended: array[float] = field(default_factory=lambda: array("d"))
    statuses: array[int] = field(default_factory=lambda: array("H"))
    allocated: array[int] = field(default_factory=lambda: array("Q"))
    expires: array[int] = field(default_factory=lambda: array("Q"))
    tracks: list[str] = field(default_factory=list)
    sandboxes: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, call: Call) -> None:
        self.kinds.append(_KINDS.index(call.kind))
        self.asked.append(call.asked_at)
        self.ended.append(call.ended_at)
        self.statuses.append(call.status)
        self.allocated.append(call.allocated_at)
        self.expires.append(call.expires_at)
        self.tracks.append(call.track_id)
        self.sandboxes.append(call.sandbox_id)

    def calls(self) -> Iterator[Call]:
        """All of them, those of a process in the order in which they ended."""
        rows = zip(
            self.kinds,
            self.tracks,
            self.asked,
            self.ended,
            self.statuses,
            self.sandboxes,
            self.allocated,
            self.expires,
            strict=True,
        )
        for kind, *rest in rows:
            yield Call(_KINDS[kind], *rest)

    def merge(self, other: CallRecord) -> None:
        for name in (*_NUMBERS, *_NAMES):
            getattr(self, name).extend(getattr(other, name))
        self.outcomes.update(other.outcomes)

    def to_dict(self) -> dict[str, Any]:
        """For a message between processes."""
        numbers = {name: getattr(self, name).tobytes() for name in _NUMBERS}
        return numbers | {name: getattr(self, name) for name in _NAMES} | {"outcomes": dict(self.outcomes)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        record = cls(outcomes=Counter(document["outcomes"]))
        for name in _NUMBERS:
            getattr(record, name).frombytes(document[name])
        for name in _NAMES:
            getattr(record, name).extend(document[name])
        return record
