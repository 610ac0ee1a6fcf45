"""Faults of the platform's object store: full, away, or hanging. Small files lie in the database, and go on."""

import os
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from acceptance.chaos.experiment import FLEET, STUDENTS, Fault, Scene
from acceptance.platform.zones import MIB
from harness.chaos.small_disk import SmallDisk
from harness.oracles.history import Entry
from harness.waiting import eventually

READERS = 40  # more than there are threads for a store
HANGS_S = 1.0
_OBJECT = """
    select 'zones/' || z.uid || '/' || p.object_id from file_parts p join files f using (zone_id, file_id)
    join zones z using (zone_id) where zone_id = %s and f.path = %s
"""


def store_full(disk: SmallDisk) -> Fault:
    """Not a block is free where the objects lie."""

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        disk.fill()
        try:
            _met_by_uploads_alone(scene)
            yield
        finally:
            disk.relieve()

    return fault


@contextmanager
def store_away(scene: Scene) -> Iterator[None]:
    """In place of the objects' directory is something else."""
    with scene.platform.store.away():
        _met_by_uploads_alone(scene)
        yield


def _met_by_uploads_alone(scene: Scene) -> None:
    scene.met(kinds=("part",))
    scene.goes_on("file", *FLEET, *STUDENTS, writes=1)


@contextmanager
def store_hangs(scene: Scene) -> Iterator[None]:
    """One object cannot be opened, as on a disk that does not answer; it is read by more than there are threads."""
    zone, path = scene.zone, f"/{uuid.uuid4().hex}"
    assert scene.writes.file(path, "x" * MIB) is not None
    storage = Path(scene.system.running.env["NEXMDM_PLATFORM_STORAGE_URL"])
    stored = storage / scene.system.db.value(_OBJECT, zone.zone_id, path)
    kept, pipe = stored.with_suffix(".kept"), stored.with_suffix(".pipe")
    stored.rename(kept)
    os.mkfifo(pipe)
    os.link(pipe, stored)
    with scene.platform.apart(zone) as apart, ThreadPoolExecutor(READERS) as threads:
        reading = [threads.submit(apart.call, "read", path=path) for _ in range(READERS)]
        try:
            eventually(lambda: _waits(scene.ledger.entries("part")[-1]), 20.0, what="a part that waits")
            scene.goes_on("file", *FLEET, *STUDENTS, writes=1)
            scene.system.api.scrape()
            yield
        finally:
            kept.replace(stored)
            os.close(os.open(pipe, os.O_RDWR))  # whoever opens it for reading goes on
            pipe.unlink()
    assert {one.result().status for one in reading} == {200}


def _waits(part: Entry) -> bool:
    return part.ended_at is None and time.time() - part.asked_at > HANGS_S
