"""The ledger of a run: every write is noted as asked before it is sent, and as acknowledged before anybody counts it.

It looks into no database: harness/oracles/reconcile.py compares. Safe under threads.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from harness.http.transport import Answer, TransportError

Kind = Literal[
    "heartbeat", "registration", "command", "result", "token", "revocation", "retirement", "upload",
    "allocation", "release", "file", "part",
]  # fmt: skip
KINDS: Final[tuple[Kind, ...]] = (
    "heartbeat", "registration", "command", "result", "token", "revocation", "retirement", "upload",
    "allocation", "release", "file", "part",
)  # fmt: skip
UNAVAILABLE: Final = 503  # with Retry-After: the one documented way to refuse a write that was as it should be


@dataclass(eq=False, slots=True)
class Entry:
    """One write. `said`: what its acknowledgement promised; None: it was refused, or no answer came."""

    kind: Kind
    key: str
    asked_at: float
    ended_at: float | None = None
    status: int | None = None
    said: frozenset[Hashable] | None = None
    problem: str = ""
    retry_after: bool = False  # whether the answer said when to come again

    @property
    def refused(self) -> bool:
        """As documented: the client knows that it may come again, and when."""
        return self.status == UNAVAILABLE and self.retry_after

    @property
    def acknowledged(self) -> bool:
        return self.said is not None

    @property
    def unanswered(self) -> bool:
        """Nobody knows what became of it: it may stand in the database, and need not."""
        return self.ended_at is not None and self.status is None


@dataclass(frozen=True)
class Tally:
    """What became of the writes. `wrong`: an answer that neither acknowledges nor refuses as documented, by status."""

    asked: int
    acknowledged: int
    refused: int
    unanswered: int
    wrong: Counter[str] = field(default_factory=Counter)


class Ledger:
    """All writes of one run."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """clock: epoch seconds as the database sees them; the buckets of heartbeats are told by it."""
        self.moves = clock is not time.time  # so that other machines' times say nothing about the database's
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: list[Entry] = []

    def write(
        self,
        kind: Kind,
        key: str,
        send: Callable[[], Answer],
        said: Callable[[Any], Iterable[Hashable]] = lambda _: (),
        *,
        facts: Mapping[str, Hashable] = MappingProxyType({}),
    ) -> Any:
        """Note the write, send it, note what came back. Returns the body of its acknowledgement, else None.

        said: what that body promises, as the audit finds it again in the database. facts: codes of problems that tell
        what the database says, and what that is: such an answer is an acknowledgement, which the audit checks as well.
        """
        entry = Entry(kind, key, self._clock())
        with self._lock:
            self._entries.append(entry)
        try:
            answer = send()
        except TransportError:
            entry.ended_at = self._clock()
            return None
        body, code = None, ""
        if 200 <= answer.status < 300:
            body = answer.json()
            entry.said = frozenset(said(body))
        elif (code := _code(answer)) in facts:
            body = answer.json()
            entry.said = frozenset({facts[code]})
        entry.retry_after = "retry-after" in answer.headers
        entry.problem = code if entry.retry_after or answer.status != UNAVAILABLE else f"{code} without Retry-After"
        entry.status = answer.status
        entry.ended_at = self._clock()
        return body

    def entries(self, *kinds: Kind) -> list[Entry]:
        """The entries of these kinds (none: of all), in the order in which they were asked."""
        with self._lock:
            return [entry for entry in self._entries if not kinds or entry.kind in kinds]

    def acknowledged_since(self, place: int) -> dict[Kind, float]:
        """When the first write of each kind was acknowledged, of those asked after `place` (an earlier `len`)."""
        with self._lock:
            later = self._entries[place:]
        first: dict[Kind, float] = {}
        for entry in later:
            if entry.acknowledged and entry.ended_at is not None:
                first[entry.kind] = min(entry.ended_at, first.get(entry.kind, entry.ended_at))
        return first

    def __len__(self) -> int:
        return len(self._entries)

    def tally(self, *kinds: Kind) -> Tally:
        """The counts, over all kinds or some."""
        entries = self.entries(*kinds)
        wrong = Counter(
            f"{one.kind} {one.status} {one.problem}".rstrip()
            for one in entries
            if one.status is not None and not one.acknowledged and not one.refused
        )
        return Tally(
            asked=len(entries),
            acknowledged=sum(one.acknowledged for one in entries),
            refused=sum(one.refused for one in entries),
            unanswered=sum(one.unanswered for one in entries),
            wrong=wrong,
        )


def _code(answer: Answer) -> str:
    try:
        return str(answer.json()["code"])
    except (ValueError, KeyError, TypeError):
        return ""
