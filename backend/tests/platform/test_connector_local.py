"""A directory as a mount's backend: read and written whole, never outside it, never over what was not expected."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from support.backends import ANOTHER, keys, leaves_the_unexpected, stat

from nexmdm.platform import local_file
from nexmdm.platform.connector import BackendAwayError, ConflictError, Entry, Remote
from nexmdm.platform.connector_local import LocalDirectory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path.resolve() / "root"
    made.mkdir()
    return made


@pytest.fixture
def directory(root: Path) -> LocalDirectory:
    return LocalDirectory(str(root), timeout_s=5)


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a directory, hidden ones too."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


async def test_a_file_is_read_in_ranges(directory: LocalDirectory, root: Path) -> None:
    (root / "a").write_bytes(b"0123456789")
    whole, found = await directory.read("a", 0, 10)
    assert (whole, found.size) == (b"0123456789", 10)
    assert (await directory.read("a", 3, 4))[0] == b"3456"
    assert (await directory.read("a", 8, 4))[0] == b"89"
    assert (await directory.read("a", 11, 4))[0] == b""
    assert await directory.stat("a") == found


async def test_what_is_at_a_path(directory: LocalDirectory, root: Path) -> None:
    (root / "a").write_bytes(b"0")
    (root / "d").mkdir()
    assert [await directory.kind(path) for path in ("", "a", "d", "x", "a/x")] == [
        "directory", "file", "directory", None, None,
    ]  # fmt: skip
    assert [await directory.stat(path) for path in ("d", "x", "a/x")] == [None, None, None]
    for path in ("d", ""):
        with pytest.raises(IsADirectoryError):
            await directory.read(path, 0, 1)
    for path in ("x", "a/x", "x/y"):
        with pytest.raises(FileNotFoundError):
            await directory.read(path, 0, 1)


async def test_a_new_file_appears_whole_with_its_directories(directory: LocalDirectory, root: Path) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for part in (b"one", b"", b"two"):
            assert not (root / "d/e/a").exists()
            yield part

    written = await directory.write("d/e/a", parts(), None)
    assert tree(root) == {"d/e/a": b"onetwo"}
    assert written == await directory.stat("d/e/a")


async def test_a_file_is_replaced_and_keeps_its_mode(directory: LocalDirectory, root: Path) -> None:
    (root / "a").write_bytes(b"old")
    (root / "a").chmod(0o640)
    old = await stat(directory, "a")
    new = await directory.write("a", b"new", old)
    assert tree(root) == {"a": b"new"}
    assert new.etag != old.etag
    assert (root / "a").stat().st_mode & 0o777 == 0o640
    await directory.delete("a", new)
    await directory.delete("a", new)
    assert tree(root) == {}


async def test_what_was_not_expected_stays(directory: LocalDirectory, root: Path) -> None:
    (root / "a").write_bytes(b"old")
    expected = await stat(directory, "a")
    (root / "a").write_bytes(b"theirs")
    await leaves_the_unexpected(directory, expected)
    assert tree(root) == {"a": b"theirs"}


@pytest.mark.parametrize("moment", ["before the link", "after the link"])
async def test_what_changes_while_it_is_replaced_is_put_back(
    moment: str, directory: LocalDirectory, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_bytes(b"old")
    expected = await stat(directory, "a")
    link = local_file.NewFile._link

    def racing(new: local_file.NewFile, *names: str) -> None:
        if moment == "before the link":
            (root / "other").write_bytes(b"theirs")
            (root / "other").rename(root / "a")
            link(new, *names)
        else:
            link(new, *names)
            (root / "a").write_bytes(b"theirs")

    monkeypatch.setattr(local_file.NewFile, "_link", racing)
    with pytest.raises(ConflictError) as refused:
        await directory.write("a", b"ours", expected)
    assert tree(root) == {"a": b"theirs"}
    assert refused.value.theirs == await directory.stat("a")


async def test_where_a_third_has_come_theirs_is_kept_beside(
    directory: LocalDirectory, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_bytes(b"old")
    expected = await stat(directory, "a")
    rename = local_file.NewFile._rename

    def racing(new: local_file.NewFile, old_name: str, new_name: str) -> None:
        if new_name == "a":
            (root / "a").write_bytes(b"theirs")
        rename(new, old_name, new_name)
        if new_name == "a":
            (root / "a").write_bytes(b"a third")

    monkeypatch.setattr(local_file.NewFile, "_rename", racing)
    with pytest.raises(ConflictError):
        await directory.write("a", b"ours", expected)
    assert sorted(tree(root).values()) == [b"a third", b"theirs"]
    assert (root / "a").read_bytes() == b"a third"


async def test_what_is_written_to_a_file_once_it_has_its_name_is_not_ours(
    directory: LocalDirectory, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = local_file.NewFile._link

    def racing(new: local_file.NewFile, *names: str) -> None:
        link(new, *names)
        (root / "a").write_bytes(b"theirs")

    monkeypatch.setattr(local_file.NewFile, "_link", racing)
    ours = await directory.write("a", b"ours", None)
    assert ours.etag != (await stat(directory, "a")).etag


async def test_of_two_that_make_one_file_one_does(directory: LocalDirectory, root: Path) -> None:
    made = await asyncio.gather(
        *(directory.write("a", str(number).encode(), None) for number in range(8)), return_exceptions=True
    )
    [winner] = [number for number, one in enumerate(made) if isinstance(one, Remote)]
    assert all(isinstance(one, Remote | ConflictError) for one in made)
    assert tree(root) == {"a": str(winner).encode()}


async def test_no_link_is_followed(directory: LocalDirectory, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"hunter2")
    (root / "d").symlink_to(outside)
    (root / "f").symlink_to(outside / "secret")
    (root / "loop").symlink_to("loop")
    before = tree(outside)
    for path in ("f", "loop", "d", "d/secret"):
        with pytest.raises(BackendAwayError):
            await directory.read(path, 0, 100)
        with pytest.raises(BackendAwayError):
            await directory.stat(path)
        with pytest.raises(BackendAwayError):
            await directory.write(path, b"x", None)
        with pytest.raises(BackendAwayError):
            await directory.delete(path, ANOTHER)
    with pytest.raises(BackendAwayError):
        await directory.list("d", recursive=False, limit=10)
    for recursive in (False, True):
        assert await directory.list("", recursive=recursive, limit=10) == []
    assert tree(outside) == before


@pytest.fixture(params=["gone", "a link"])
def moved(request: pytest.FixtureRequest, root: Path) -> Path:
    """Where the root with its file has gone, from where there is nothing now, or a link."""
    (root / "a").write_bytes(b"0")
    moved = root.rename(root.with_name("moved"))
    if request.param == "a link":
        root.symlink_to(moved)
    return moved


async def test_a_root_that_becomes_a_link_or_goes_is_away(directory: LocalDirectory, moved: Path) -> None:
    for call in (
        directory.check(), directory.stat("a"), directory.read("a", 0, 1), directory.kind(""),
        directory.list("", recursive=True, limit=1), directory.write("b", b"", None),
        directory.delete("a", ANOTHER),
    ):  # fmt: skip
        with pytest.raises(BackendAwayError, match="no_root"):
            await call
    assert tree(moved) == {"a": b"0"}


async def test_a_directory_above_the_root_that_becomes_a_link_is_not_followed(root: Path) -> None:
    (root / "d").mkdir()
    (root / "d/a").write_bytes(b"0")
    below = LocalDirectory(str(root / "d"), timeout_s=5)
    assert await below.kind("a") == "file"
    moved = root.rename(root.with_name("moved"))  # noqa: ASYNC240 - on a disk in memory
    root.symlink_to(moved)  # noqa: ASYNC240
    with pytest.raises(BackendAwayError, match="no_root"):
        await below.kind("a")


async def test_what_is_no_file_is_not_waited_for(directory: LocalDirectory, root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(BackendAwayError):
        await directory.read("pipe", 0, 1)
    with pytest.raises(BackendAwayError):
        await directory.write("pipe", b"", None)
    assert await directory.list("", recursive=True, limit=10) == []


async def test_a_file_in_the_place_of_a_directory_fails(directory: LocalDirectory, root: Path) -> None:
    (root / "f").write_bytes(b"0")
    (root / "d").mkdir()
    for path in ("f/a", "d"):
        with pytest.raises(BackendAwayError):
            await directory.write(path, b"ours", None)
    await directory.delete("f/a", await stat(directory, "f"))
    assert tree(root) == {"f": b"0"}


async def test_a_list_is_in_order_and_in_pages(directory: LocalDirectory, root: Path) -> None:
    for path in ("a/x/1", "a/x/2", "a/y", "a.b", "b", "ä", "z/z"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    (root / "empty").mkdir()
    (root / "a\nb").write_bytes(b"cannot be named")
    (root / os.fsdecode(b"\xff")).write_bytes(b"cannot be named")
    (root / f".nexmdm-{'0' * 32}").write_bytes(b"ours")
    everything = ["a.b", "a/x/1", "a/x/2", "a/y", "b", "z/z", "ä"]
    shallow = ["a.b", "a/", "b", "empty/", "z/", "ä"]
    for recursive, wanted in ((True, everything), (False, shallow)):
        assert keys(await directory.list("", recursive=recursive, limit=100)) == wanted
        for limit in (1, 2, 3):
            found: list[Entry] = []
            while page := await directory.list(
                "", recursive=recursive, after=found[-1].key if found else "", limit=limit
            ):
                found += page
            assert keys(found) == wanted
    assert keys(await directory.list("a", recursive=False, limit=9)) == ["a/x/", "a/y"]
    assert keys(await directory.list("a", recursive=True, after="a/x/1", limit=9)) == ["a/x/2", "a/y"]
    assert await directory.list("nothing", recursive=True, limit=9) == []
    [entry] = [entry for entry in await directory.list("", recursive=False, limit=9) if entry.path == "b"]
    assert entry.remote == await directory.stat("b")


async def test_a_directory_that_hangs_is_away_and_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, sync = LocalDirectory(str(root), timeout_s=0.1), os.fsync

    def slow(descriptor: int) -> None:
        asyncio.run(asyncio.sleep(0.3))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    with pytest.raises(BackendAwayError, match="timeout"):
        await directory.write("a", b"ours", None)
    await asyncio.sleep(1)
    assert tree(root) == {}, "nobody waits for it any more"
    assert await directory.stat("b") is None


async def test_a_time_that_no_calendar_has_is_one_that_can_be_told() -> None:
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # which keeps such times; not every file system does
    with TemporaryDirectory(dir=where) as folder:
        for at_s in (-62_200_000_000, 253_402_300_800):
            (Path(folder) / "a").write_bytes(b"x")
            os.utime(Path(folder) / "a", (at_s, at_s))
            [entry] = await LocalDirectory(folder, timeout_s=5).list("", recursive=True, limit=9)
            assert entry.remote is not None
            assert 1970 <= entry.remote.modified_at.year <= 9999


async def test_a_disk_that_is_full_leaves_nothing(
    directory: LocalDirectory, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "full")

    (root / "a").write_bytes(b"old")
    expected = await stat(directory, "a")
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(BackendAwayError, match="ENOSPC"):
        await directory.write("a", b"ours", expected)
    assert tree(root) == {"a": b"old"}


async def test_a_file_is_on_the_disk_before_its_name(
    directory: LocalDirectory, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_bytes(b"old")
    expected, done = await stat(directory, "a"), []
    sync, rename = os.fsync, os.rename

    def noted_sync(descriptor: int) -> None:
        done.append("sync")
        sync(descriptor)

    def noted_rename(*names: Any, **folders: Any) -> None:
        done.append("rename")
        rename(*names, **folders)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "rename", noted_rename)
    await directory.write("a", b"new", expected)
    assert done == ["sync", "rename", "sync"]
