"""Objects on the local disk: whole or not there, and gone when they are deleted; where else they may lie."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from nexmdm.platform.object_bucket import storage_url
from nexmdm.platform.object_directory import Directory
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
    assert await store.get(ZONE, NAME, 0, 1) == b""


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


async def test_a_store_that_hangs_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Directory, "get", lambda *_: asyncio.sleep(30))
    with pytest.raises(StoreAwayError):
        await ObjectStore(str(tmp_path), timeout_s=0.05).get(ZONE, NAME, 0, 1)


@pytest.mark.parametrize("url", ["./var/objects", "/srv/objects", "s3://a.bucket", "s3://bucket/", "s3://bucket/a/b_1"])
def test_where_objects_may_lie(url: str) -> None:
    assert storage_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "gs://bucket",
        "file:///srv",
        "s3://",
        "s3://b",
        "s3:///prefix",
        "s3://user:hunter2@bucket",
        "s3://bucket?region=hunter2",
        "s3://bucket#hunter2",
        "s3://bucket//a",
        "s3://bucket/../a",
        "s3://bucket/a b",
    ],
)
def test_where_no_object_can_lie(url: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a directory, or s3://bucket/prefix$"):
        storage_url(url)


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_CHECKSUM_ALGORITHM"])
def test_an_environment_that_describes_no_store(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "hunter2")
    with pytest.raises(ValueError, match="AWS_") as refused:
        storage_url("s3://bucket")
    assert "hunter2" not in str(refused.value)
