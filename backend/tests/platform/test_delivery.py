"""One change is brought to a directory: over what both sides knew, never over what changed there, and counted once."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from nexmdm.kernel.statements import Statements
from nexmdm.platform import paths
from nexmdm.platform.connector import BackendAwayError
from nexmdm.platform.connector_local import LocalDirectory
from nexmdm.platform.contents import Contents
from nexmdm.platform.delivery import Delivery, Mounted

MOUNT = """
    INSERT INTO mounts (zone_id, mount_point, owner, backend_type, config) VALUES ('alpha', '/m', 'o', 'local', '{}')
    RETURNING mount_id
"""
CHANGE = """
    INSERT INTO mount_changes (zone_id, mount_id, path, kind) VALUES ('alpha', $1, $2, $3)
    ON CONFLICT (zone_id, mount_id, path) DO UPDATE SET kind = $3, version = DEFAULT
"""
FILE = """
    INSERT INTO files (zone_id, path, kind, size, etag, content) VALUES ('alpha', $1, 'file', $2, 'e', $3)
    ON CONFLICT (zone_id, path) DO UPDATE SET size = $2, content = $3
"""
USED = "UPDATE zones SET used_bytes = (SELECT coalesce(sum(size), 0) FROM files), files = (SELECT count(*) FROM files)"


class Scene:
    """A mount of zone alpha, and its directory."""

    def __init__(self, root: Path, connection: Any, mount_id: UUID, delivery: Delivery) -> None:
        self.root, self.connection, self.mount_id, self.delivery = root, connection, mount_id, delivery

    async def change(self, content: bytes | None) -> None:
        """Of `a`: written below the mount, or deleted."""
        private = paths.private(self.mount_id, "a")
        await self.connection.execute(CHANGE, self.mount_id, "a", "delete" if content is None else "write")
        if content is None:
            await self.connection.execute("DELETE FROM files WHERE path = $1", private)
        else:
            await self.connection.execute(FILE, private, len(content), content)
        await self.connection.execute(USED)

    async def rows(self) -> tuple[int, ...]:
        """Changes, bases, open conflicts, private files; the zone's bytes."""
        return tuple(
            await self.connection.fetchrow(
                "SELECT (SELECT count(*) FROM mount_changes), (SELECT count(*) FROM mount_bases),"
                " (SELECT count(*) FROM mount_conflicts), (SELECT count(*) FROM files),"
                " (SELECT used_bytes FROM zones WHERE zone_id = 'alpha')"
            )
        )

    def bytes(self) -> bytes | None:
        path = self.root / "a"
        return path.read_bytes() if path.exists() else None


@pytest.fixture
async def scene(
    tmp_path: Path, connection: asyncpg.Connection[Any], statements: Statements, contents: Contents, zone: UUID
) -> Scene:
    root = tmp_path / "root"
    root.mkdir()
    mount_id = await connection.fetchval(MOUNT)
    directory = LocalDirectory(str(root.resolve()), 5)
    delivery = Delivery(Mounted("alpha", zone, mount_id, "/m"), directory, statements, contents)
    return Scene(root, connection, mount_id, delivery)


async def test_a_change_arrives_and_its_bytes_are_given_back(scene: Scene) -> None:
    for content in (b"one", b"two!", None):
        await scene.change(content)
        assert await scene.delivery.deliver("a") == "pushed"
        assert scene.bytes() == content
        assert await scene.rows() == (0, int(content is not None), 0, 0, 0)
    assert await scene.delivery.deliver("a") == "gone"
    events = await scene.connection.fetch("SELECT type, path FROM events")
    assert [tuple(event) for event in events] == [("sync.pushed", "/m/a")] * 3


@pytest.mark.parametrize("theirs", [b"theirs", None])
@pytest.mark.parametrize("ours", [b"ours", None])
async def test_both_sides_changed(ours: bytes | None, theirs: bytes | None, scene: Scene) -> None:
    await scene.change(b"base")
    await scene.delivery.deliver("a")
    await scene.change(ours)
    (scene.root / "a").unlink() if theirs is None else (scene.root / "a").write_bytes(theirs)
    are_equal = ours == theirs
    assert await scene.delivery.deliver("a") == ("pushed" if are_equal else "conflict")
    assert scene.bytes() == theirs
    kept = 0 if ours is None else len(ours)
    wanted = (0, 0, 0, 0, 0) if are_equal else (1, 1, 1, int(ours is not None), kept)
    assert await scene.rows() == wanted
    assert await scene.delivery.deliver("a") == "gone"


@pytest.mark.parametrize("theirs, outcome", [(b"other", "conflict"), (b"same", "pushed")])
async def test_a_first_delivery_onto_an_existing_file(theirs: bytes, outcome: str, scene: Scene) -> None:
    (scene.root / "a").write_bytes(theirs)
    await scene.change(b"same")
    assert await scene.delivery.deliver("a") == outcome
    assert scene.bytes() == theirs


async def test_a_delivery_that_was_killed_before_it_was_written_down(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: object, **_more: object) -> None:
        raise RuntimeError

    await scene.change(b"base")
    await scene.delivery.deliver("a")
    await scene.change(b"ours")
    with monkeypatch.context() as patched:
        patched.setattr(Delivery, "settle", killed)
        with pytest.raises(RuntimeError):
            await scene.delivery.deliver("a")
    assert (scene.bytes(), await scene.rows()) == (b"ours", (1, 1, 0, 1, 4))
    assert await scene.delivery.deliver("a") == "pushed"
    assert await scene.rows() == (0, 1, 0, 0, 0)


async def test_what_is_written_during_a_delivery_stays_in_the_backlog(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = LocalDirectory.write

    async def racing(self: LocalDirectory, *given: Any) -> Any:
        done = await write(self, *given)
        await scene.change(b"newer")
        return done

    await scene.change(b"first")
    with monkeypatch.context() as patched:
        patched.setattr(LocalDirectory, "write", racing)
        await scene.delivery.deliver("a")
    assert (scene.bytes(), await scene.rows()) == (b"first", (1, 1, 0, 1, 5))
    assert await scene.delivery.deliver("a") == "pushed"
    assert (scene.bytes(), await scene.rows()) == (b"newer", (0, 1, 0, 0, 0))


async def test_an_outage_changes_nothing(scene: Scene) -> None:
    await scene.change(b"ours")
    scene.root.rename(scene.root.with_name("away"))
    with pytest.raises(BackendAwayError):
        await scene.delivery.deliver("a")
    assert await scene.rows() == (1, 0, 0, 1, 4)


@pytest.mark.parametrize("first", [b"first", None])
@pytest.mark.parametrize("second", [b"second", None])
async def test_a_path_that_changes_again_after_a_delivery_was_killed(
    first: bytes | None, second: bytes | None, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: object, **_more: object) -> None:
        raise RuntimeError

    await scene.change(b"base")
    await scene.delivery.deliver("a")
    await scene.change(first)
    with monkeypatch.context() as patched:
        patched.setattr(Delivery, "settle", killed)
        with pytest.raises(RuntimeError):
            await scene.delivery.deliver("a")
    assert scene.bytes() == first
    await scene.change(second)
    assert await scene.delivery.deliver("a") == "pushed"
    assert scene.bytes() == second
    assert await scene.rows() == (0, int(second is not None), 0, 0, 0)


async def test_what_another_one_has_written_after_a_delivery_was_killed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: object, **_more: object) -> None:
        raise RuntimeError

    await scene.change(b"first")
    with monkeypatch.context() as patched:
        patched.setattr(Delivery, "settle", killed)
        with pytest.raises(RuntimeError):
            await scene.delivery.deliver("a")
    (scene.root / "a").write_bytes(b"theirs")
    await scene.change(b"second")
    assert await scene.delivery.deliver("a") == "conflict"
    assert scene.bytes() == b"theirs"


@pytest.mark.parametrize("removed", [True, False])
async def test_no_conflict_is_opened_of_what_is_gone(
    removed: bool, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def changes_and_differs(*_: object, **_more: object) -> bool:
        if removed:
            await scene.connection.execute("DELETE FROM mount_changes")
            await scene.connection.execute("UPDATE mounts SET saved = true, active = false")
        else:
            await scene.change(b"newer")
        return False

    await scene.change(b"ours")
    (scene.root / "a").write_bytes(b"theirs")
    monkeypatch.setattr(Delivery, "holds", changes_and_differs)
    assert await scene.delivery.deliver("a") == "gone"
    assert await scene.connection.fetchval("SELECT count(*) FROM mount_conflicts") == 0


async def test_what_is_of_another_size_is_not_read(scene: Scene) -> None:
    await scene.change(b"ours")
    (scene.root / "a").touch()
    os.truncate(scene.root / "a", 2**40)
    async with asyncio.timeout(10):
        assert await scene.delivery.deliver("a") == "conflict"


@pytest.mark.parametrize(
    "statement",
    ["UPDATE mounts SET saved = true, active = false", "UPDATE bricks SET mounted = false WHERE name = 'sync'"],
)
async def test_nothing_is_brought_that_is_not_to_be(statement: str, scene: Scene) -> None:
    await scene.change(b"ours")
    await scene.connection.execute(statement)
    assert await scene.delivery.deliver("a") == "gone"
    assert scene.bytes() is None
