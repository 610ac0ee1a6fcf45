"""The record of a run: every call of its students, as the client saw it. Half a million of them fit into memory."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

ALLOCATE: Final = "allocate"
WAIT: Final = "wait"  # to allocate, with a preference to wait
RELEASE: Final = "release"
VIEW: Final = "view"  # of a sandbox, or of what the track has
EXTEND: Final = "extend"
ALLOCATING: Final = frozenset({ALLOCATE, WAIT})


class Call(NamedTuple):
    """One call. Times are epoch seconds of the server's clock.

    kind: one of the above. asked_at, ended_at: not later, and not earlier, than the server saw it. status: 0 when no
    answer came. sandbox_id, allocated_at, expires_at: as the answer said; of a release, the sandbox that was named.
    Empty, or 0, where it said none.
    """

    kind: str
    track_id: str
    asked_at: float
    ended_at: float
    status: int
    sandbox_id: str = ""
    allocated_at: int = 0
    expires_at: int = 0

    @property
    def acknowledged(self) -> bool:
        return 200 <= self.status < 300

    @property
    def unsure(self) -> bool:
        """Whether it may have been carried out although nobody said so."""
        return self.status == 0 or self.status >= 500


def write_calls(path: Path, calls: Iterable[Call]) -> None:
    """As CSV, compressed with gzip, the names of the fields first."""
    with gzip.open(path, "wt", encoding="utf-8", newline="", compresslevel=1) as file:
        writer = csv.writer(file)
        writer.writerow(Call._fields)
        writer.writerows(calls)


def read_calls(path: Path) -> Iterator[Call]:
    """ValueError: this is no such file."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            if next(reader, None) != list(Call._fields):
                raise ValueError(f"{path}: its first line is not {','.join(Call._fields)}")
            for kind, track_id, asked, ended, status, sandbox_id, allocated, expires in reader:
                times = (float(asked), float(ended))
                yield Call(kind, track_id, *times, int(status), sandbox_id, int(allocated), int(expires))
    except (gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{path}: {error}") from None
