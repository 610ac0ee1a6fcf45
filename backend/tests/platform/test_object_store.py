"""Objects on the local disk: whole or not there, and gone when they are deleted."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from nexmdm.platform.object_store import ObjectStore, StoreAwayError

ObjectsOf = Callable[[UUID], list[str]]

ZONE, NAME = UUID(int=1), UUID(int=2)


async def test_an_object_is_read_in_ranges(objects_of: ObjectsOf, store: ObjectStore) -> None:
    await store.put(ZONE, NAME, b"0123456789")
    assert await store.get(ZONE, NAME, 0, 10) == b"0123456789"
    assert await store.get(ZONE, NAME, 3, 4) == b"3456"
    assert objects_of(ZONE) == [str(NAME)]


async def test_a_deleted_object_is_gone_and_may_be_deleted_again(objects_of: ObjectsOf, store: ObjectStore) -> None:
    await store.put(ZONE, NAME, b"0")
    for _ in range(2):
        await store.delete(ZONE, NAME)
    assert objects_of(ZONE) == []
    with pytest.raises(FileNotFoundError):
        await store.get(ZONE, NAME, 0, 1)


async def test_a_name_is_never_used_twice_at_once(store: ObjectStore, tmp_path: Path) -> None:
    await store.put(ZONE, NAME, b"0")
    half = tmp_path / "objects" / "zones" / str(ZONE) / f"{NAME}.half"
    half.write_bytes(b"of another")
    with pytest.raises(StoreAwayError):
        await store.put(ZONE, NAME, b"1")
    await store.delete(ZONE, NAME)
    assert not half.exists()


async def test_a_disk_that_is_full_leaves_nothing(
    objects_of: ObjectsOf, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreAwayError):
        await store.put(ZONE, NAME, b"0")
    assert objects_of(ZONE) == []


async def test_the_object_is_on_disk_before_its_name(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, rename = os.fsync, Path.rename

    def noted_sync(descriptor: int) -> None:
        done.append("sync")
        sync(descriptor)

    def noted_rename(path: Path, new: Path) -> Path:
        done.append("rename")
        return rename(path, new)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    await store.put(ZONE, UUID(int=3), b"0")
    done.clear()
    await store.put(ZONE, NAME, b"0")
    assert done == ["sync", "rename", "sync"]


async def test_a_zone_is_removed_with_all_that_is_left(store: ObjectStore, tmp_path: Path) -> None:
    await store.put(ZONE, NAME, b"0")
    for _ in range(2):
        await store.remove_zone(ZONE)
    assert list((tmp_path / "objects" / "zones").iterdir()) == []
