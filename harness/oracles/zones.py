"""The part of the audit that is about zones: a ledger against files, uploads, events, and what each zone is charged.

The key of a file is its zone and path. A path is written or uploaded by one client, which repeats what got no answer.

    file    an acknowledged write is the file; each write of it is one event
    part    an upload never goes back behind what was acknowledged; with its last part it is a file of the same bytes
    charge  what a zone says that it holds is what its rows add up to, and its events have no gap
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Final, LiteralString, NamedTuple

import psycopg

from harness.oracles.findings import Findings
from harness.oracles.history import Entry, Ledger

_FILES: Final[LiteralString] = """
    SELECT zone_id || path, etag, version, (SELECT count(*) FROM events AS e
        WHERE e.zone_id = f.zone_id AND e.path = f.path AND e.type = 'write')
    FROM files AS f
"""
_UPLOADS: Final[LiteralString] = "SELECT zone_id || path, upload_offset FROM uploads"
_CHARGES: Final[LiteralString] = """
    SELECT zone_id,
        ARRAY[used_bytes, files, reserved_bytes, uploads_open, event_seq, event_seq],
        ARRAY[
            (SELECT coalesce(sum(size), 0)::bigint FROM files WHERE zone_id = z.zone_id),
            (SELECT count(*) FROM files WHERE zone_id = z.zone_id),
            (SELECT coalesce(sum(reserved), 0)::bigint FROM uploads
                WHERE zone_id = z.zone_id AND finished_at IS NULL),
            (SELECT count(*) FROM uploads WHERE zone_id = z.zone_id AND finished_at IS NULL),
            (SELECT count(*) FROM events WHERE zone_id = z.zone_id),
            (SELECT coalesce(max(sequence_number), 0) FROM events WHERE zone_id = z.zone_id)]
    FROM zones AS z
"""


class Part(NamedTuple):
    """What an acknowledged part promises: it lies from `start` to `end`. digest: of the whole file, with its last one.

    A creation is the part from 0 to 0.
    """

    start: int
    end: int
    digest: str = ""


class File(NamedTuple):
    """A file as it is stored. events: how many tell that it was written."""

    etag: str
    version: int
    events: int


class State(NamedTuple):
    """What the zones hold. charges: of each zone what it says, and what its rows add up to."""

    files: dict[str, File]
    uploads: list[tuple[str, int]]
    charges: list[tuple[str, list[int], list[int]]]


def read(connection: psycopg.Connection[Any]) -> State:
    """Everything of all zones."""
    files = {key: File(*rest) for key, *rest in connection.execute(_FILES).fetchall()}
    return State(files, connection.execute(_UPLOADS).fetchall(), connection.execute(_CHARGES).fetchall())


def compare(ledger: Ledger, now: State, before: State, content: Callable[[str], bytes] | None, found: Findings) -> None:
    """Add the differences. `before`: files and uploads that are nobody's; content: reads the file of a key."""
    files = {key: file for key, file in now.files.items() if key not in before.files}
    nobodys = {key for key, _ in before.uploads}
    uploads = [(key, offset) for key, offset in now.uploads if key not in nobodys]
    writes, parts = _by_key(ledger.entries("file")), _by_key(ledger.entries("part"))
    _files(writes, files, found)
    _uploads(parts, uploads, files, content, found)
    for key, file in files.items():
        if key not in writes and key not in parts:
            found.unasked.append(f"file {key}: nobody asked for it")
        elif file.events < file.version:
            found.missing.append(f"file {key}: written {file.version} times, and has {file.events} events")
        elif file.events > file.version:
            found.unasked.append(f"file {key}: written {file.version} times, and has {file.events} events")
    for zone_id, says, holds in now.charges:
        if says != holds:
            found.missing.append(f"zone {zone_id}: says {says}, and its rows add up to {holds}")


def _by_key(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        found[entry.key].append(entry)
    return found


def _files(asked: dict[str, list[Entry]], files: dict[str, File], found: Findings) -> None:
    for key, entries in asked.items():
        promised, file = {etag for entry in entries for etag in entry.said or ()}, files.get(key)
        if file is None:
            found.missing += [f"file {key}: acknowledged and not there"] if promised else []
        elif not promised:
            found.landed.append(f"file {key}")
        elif file.etag not in promised:
            found.missing.append(f"file {key}: acknowledged as {promised}, is {file.etag}")
        if file is not None and file.version > len(entries):
            found.doubled.append(f"file {key}: written {file.version} times, asked for {len(entries)} times")


def _uploads(
    asked: dict[str, list[Entry]],
    uploads: Sequence[tuple[str, int]],
    files: dict[str, File],
    content: Callable[[str], bytes] | None,
    found: Findings,
) -> None:
    offsets, times = dict(uploads), Counter(key for key, _ in uploads)
    for key, entries in asked.items():
        reached, digest = -1, ""
        for part in (one for entry in entries for one in entry.said or ()):
            assert isinstance(part, Part)
            if part.start < reached:
                found.missing.append(f"part {key}: acknowledged up to {reached}, and went on at {part.start}")
            reached, digest = max(reached, part.end), digest or part.digest
        if reached > offsets.get(key, -1):
            found.missing.append(f"part {key}: acknowledged up to {reached}, is at {offsets.get(key, 'nothing')}")
        elif reached < offsets.get(key, -1):
            found.landed.append(f"part {key}")
        if times[key] > 1:
            found.doubled.append(f"part {key}: {times[key]} uploads of it")
        if digest and key not in files:
            found.missing.append(f"part {key}: acknowledged to its end, and is no file")
        elif digest and content is not None and sha256(content(key)).hexdigest() != digest:
            found.missing.append(f"part {key}: the file is not what was sent")
        if key in files and files[key].version > 1:
            found.doubled.append(f"part {key}: finished {files[key].version} times")
    found.unasked += [f"part {key}: nobody asked for it" for key in offsets if key not in asked]
