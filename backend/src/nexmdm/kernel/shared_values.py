"""The values of metrics, in memory that all processes of one `nexmdm serve` share. It knows no metric, opens no file.

The multiprocess mode of prometheus-client keeps them in files: whoever cleans temporary folders takes them away, and a
full disk ends a process that writes to one (SIGBUS). Here each process has a slot, which its parent made before the
fork; a process that replaces another takes over its slot, so counters go on and series do not pile up.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Sequence
from functools import cache
from threading import Lock
from typing import Any, Final, NamedTuple

from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

SLOT_BYTES: Final = 4 * 2**20  # of address space; memory is used as it is written. Labels are closed sets: it suffices
_WORD: Final = 8
_lock: Final = Lock()  # of this process: a scrape and the requests run in different threads
_USED, _SPARE, _FIRST = 0, 1, 2  # words: how many are in use; where values go that find no room; the first record


class _Series(NamedTuple):
    """What identifies one value; `mode` is the multiprocess mode of a gauge."""

    kind: str
    mode: str
    metric: str
    sample: str
    labels: dict[str, str]
    help: str


@cache  # series are few
def _series(key: bytes) -> _Series:
    return _Series(*json.loads(key))


class Slot:
    """The values of one process, one writer at a time. A record: length of the key, the key padded, the value."""

    def __init__(self, size_bytes: int = SLOT_BYTES) -> None:
        self._memory = mmap.mmap(-1, size_bytes)  # shared and anonymous: the children of a fork see it too
        self.words = memoryview(self._memory).cast("d")  # an aligned double is written whole
        self.words[_USED] = _FIRST

    def records(self) -> Iterator[tuple[bytes, int]]:
        """Each key, and the word of its value."""
        at, used = _FIRST, int(self.words[_USED])
        while at < used:
            length = int(self.words[at])
            start = (at + 1) * _WORD
            place = at + 1 + _words(length)
            yield self._memory[start : start + length], place
            at = place + 1

    def add(self, key: bytes) -> int:
        """Make a record. Returns the word of its value, 0.0; the spare one where there is no room."""
        at = int(self.words[_USED])
        place = at + 1 + _words(len(key))
        if place >= len(self.words):
            return _SPARE
        start = (at + 1) * _WORD
        self._memory[start : start + len(key)] = key
        self.words[at] = len(key)
        self.words[_USED] = place + 1  # last: a reader sees whole records
        return place


def _words(length_bytes: int) -> int:
    return -(-length_bytes // _WORD)


class Value:
    """One value, with what prometheus-client's metrics call when they are counted up or set."""

    __slots__ = ("_place", "_words", "key")

    def __init__(self, key: bytes) -> None:
        self.key = key

    def bind(self, words: memoryview[float], place: int) -> None:
        """Keep the value in this word from now on."""
        self._words, self._place = words, place

    def inc(self, amount: float) -> None:
        with _lock:
            self._words[self._place] += amount

    def set(self, value: float) -> None:
        with _lock:
            self._words[self._place] = value


class SharedValues:
    """The slots of all processes. The first is that of the process that made them, until it takes another."""

    def __init__(self) -> None:
        self._slots = [Slot()]
        self._mine = self._slots[0]
        self._places: dict[bytes, int] = {}  # of the records in it
        self._values: list[Value] = []

    def share(self, processes: int) -> None:
        """Make slots 1 to `processes` for the children of this process: before the first is forked."""
        self._slots += [Slot() for _ in range(processes)]

    def take(self, number: int) -> None:
        """In a child: count in this slot from now on, on top of what its last owner has counted."""
        self._mine = self._slots[number]
        self._places = dict(self._mine.records())
        for value in self._values:
            self._bind(value)

    def clear(self, number: int) -> None:
        """Its owner has ended: what describes a living process is 0."""
        slot = self._slots[number]
        for key, place in slot.records():
            if _series(key).mode.startswith("live"):
                slot.words[place] = 0.0

    def value(
        self,
        kind: str,
        metric: str,
        sample: str,
        names: Sequence[str],
        labels: Sequence[str],
        help_text: str,
        multiprocess_mode: str = "",
        **_: Any,
    ) -> Value:
        """A new value; in the place of prometheus-client's ValueClass."""
        series = _Series(kind, multiprocess_mode, metric, sample, dict(zip(names, labels, strict=True)), help_text)
        value = Value(json.dumps(series).encode())
        with _lock:
            self._bind(value)
            self._values.append(value)
        return value

    def collect(self) -> Any:
        """The metrics over all processes, as a collector of prometheus-client."""
        metrics: dict[str, Any] = {}  # half typed, there
        for slot in self._slots:
            for key, place in slot.records():
                series = _series(key)
                if series.metric not in metrics:
                    metrics[series.metric] = Metric(series.metric, series.help, series.kind)
                    metrics[series.metric]._multiprocess_mode = series.mode  # noqa: SLF001 - as below
                labels = tuple(sorted(series.labels.items()))
                metrics[series.metric].add_sample(series.sample, labels, slot.words[place])
        # Its public door reads files.
        return MultiProcessCollector._accumulate_metrics(metrics, accumulate=True)  # type: ignore[no-untyped-call]  # noqa: SLF001

    def _bind(self, value: Value) -> None:
        if value.key not in self._places:
            self._places[value.key] = self._mine.add(value.key)
        value.bind(self._mine.words, self._places[value.key])
