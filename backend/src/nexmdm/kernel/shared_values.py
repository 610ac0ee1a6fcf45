"""The values of metrics, in memory that all processes of one `nexmdm serve` share. It knows no metric, opens no file.

The multiprocess mode of prometheus-client keeps them in files: whoever cleans temporary folders takes them away, and a
full disk ends a process that writes to one (SIGBUS). Here each process has a slot, which its parent made before the
fork; a process that replaces another takes over its slot, so counters go on and series do not pile up.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from threading import Lock
from typing import Any, Final, NamedTuple

from prometheus_client.utils import floatToGoString

SLOT_BYTES: Final = 4 * 2**20  # of address space; memory is used as it is written. Labels are closed sets: it suffices
_WORD: Final = 8
_number: Final[Callable[[float], str]] = floatToGoString
_lock: Final = Lock()  # of this process: a scrape and the requests run in different threads
_USED, _SPARE, _FIRST = 0, 1, 2  # words: how many are in use; where values go that find no room; the first record


class _Series(NamedTuple):
    """What identifies one value; `mode` is the multiprocess mode of a gauge, `text` how the sample is written."""

    kind: str
    mode: str
    metric: str
    help: str
    text: str
    labels: str  # without a bucket's bound
    bound: float | None


@cache  # series are few
def _series(key: bytes) -> _Series:
    kind, mode, metric, sample, labels, help_text = json.loads(key)
    text = sample + _written(labels)
    bound = labels.pop("le", None)
    return _Series(kind, mode, metric, help_text, text, _written(labels), None if bound is None else float(bound))


def _written(labels: Mapping[str, str]) -> str:
    pairs = [name + '="' + _escaped(value).replace('"', r"\"") + '"' for name, value in sorted(labels.items())]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _head(series: _Series) -> str:
    name = f"{series.metric}_total" if series.kind == "counter" else series.metric
    return f"# HELP {name} {_escaped(series.help)}\n# TYPE {name} {series.kind}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _plain(family: Iterable[tuple[_Series, float]]) -> Iterator[str]:
    for series, value in family:
        yield f"{series.text} {_number(value)}"


def _buckets(family: Iterable[tuple[_Series, float]]) -> Iterator[str]:
    """Each record counts one bucket alone; a line counts up to its bound. The sum comes after its buckets."""
    count = 0.0
    for series, value in sorted(family, key=_place_in_histogram):
        if series.bound is None:
            yield f"{series.metric}_count{series.labels} {_number(count)}"
            yield f"{series.text} {_number(value)}"
            count = 0.0
        else:
            count += value
            yield f"{series.text} {_number(count)}"


def _place_in_histogram(one: tuple[_Series, float]) -> tuple[str, bool, float]:
    series = one[0]
    return series.labels, series.bound is None, series.bound or 0.0


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
        """Make slots 1 to `processes` for the children of this process: before the first is forked.

        This process takes a new slot, too: one that it was forked from may have made it, and others of its children.
        """
        counted = [(key, self._mine.words[place]) for key, place in self._mine.records()]
        self._slots = [Slot() for _ in range(processes + 1)]
        for key, value in counted:
            self._slots[0].words[self._slots[0].add(key)] = value
        self.clear(0)
        self.take(0)

    def take(self, number: int) -> None:
        """In a child: count in this slot from now on, on top of what its last owner has counted."""
        self._mine = self._slots[number]
        self._places = dict(self._mine.records())
        for value in self._values:
            self._bind(value)

    def clear(self, number: int) -> None:
        """What describes a living process is 0: the slot's owner has ended, or only begins."""
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
        described = kind, multiprocess_mode, metric, sample, dict(zip(names, labels, strict=True)), help_text
        value = Value(json.dumps(described).encode())
        with _lock:
            self._bind(value)
            self._values.append(value)
        return value

    def page(self) -> str:
        """The text page (format 0.0.4) over all processes. It holds the interpreter, so it does little for a series."""
        totals: dict[bytes, float] = {}
        for slot in self._slots:
            for key, place in slot.records():
                value = slot.words[place]
                if key not in totals:
                    totals[key] = value
                elif _series(key).mode.endswith("max"):
                    totals[key] = max(totals[key], value)
                else:
                    totals[key] += value
        families: dict[str, list[tuple[_Series, float]]] = {}
        for key, value in totals.items():
            series = _series(key)
            families.setdefault(series.metric, []).append((series, value))
        lines: list[str] = []
        for family in families.values():
            lines.append(_head(family[0][0]))
            lines += _buckets(family) if family[0][0].kind == "histogram" else _plain(family)
        return "\n".join((*lines, ""))

    def _bind(self, value: Value) -> None:
        if value.key not in self._places:
            self._places[value.key] = self._mine.add(value.key)
        value.bind(self._mine.words, self._places[value.key])
