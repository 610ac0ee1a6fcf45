"""Large contents: pinned before they are stored, the file's once it takes them, swept when nobody has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from nexmdm.kernel.statements import Statements
from nexmdm.platform.contents import Content, Contents, parts_of, take
from nexmdm.platform.object_store import ObjectStore, StoreAwayError
from nexmdm.platform.sweeper import sweep
from nexmdm.platform.types import INLINE_BYTES, PART_BYTES
from nexmdm.platform.zone_row import ZoneEndsError, within

ObjectsOf = Callable[[UUID], list[str]]

LARGE = b"x" * (INLINE_BYTES + 1)
FILE = "INSERT INTO files (zone_id, path, kind, size, etag) VALUES ('alpha', '/f', 'file', $1, 'e') RETURNING file_id"
PINS = "SELECT pinned_until > clock_timestamp() FROM objects"


async def taken(statements: Statements, content: Content) -> UUID:
    """The id of a file that has the content."""
    async with within(statements, "alpha") as tx:
        file_id: UUID = await tx.fetchval(FILE, content.size)
        await take(tx, "alpha", file_id, content, replace=False)
    return file_id


async def test_a_small_content_lies_in_the_row(
    objects_of: ObjectsOf, contents: Contents, zone: UUID, store: ObjectStore
) -> None:
    content = await contents.keep("alpha", zone, b"x" * INLINE_BYTES)
    assert (content.inline, content.parts) == (b"x" * INLINE_BYTES, ())
    assert objects_of(zone) == []


async def test_a_large_one_is_read_across_its_parts(contents: Contents, zone: UUID, statements: Statements) -> None:
    whole = bytes(range(256)) * (PART_BYTES // 256) + b"the end"
    content = await contents.keep("alpha", zone, whole)
    assert (content.size, len(content.parts), content.etag[-2:]) == (len(whole), 2, "-2")
    file_id = await taken(statements, content)
    async with within(statements, "alpha") as tx:
        parts = await parts_of(tx, "alpha", file_id)
    found = await contents.read(zone, parts, PART_BYTES - 3, 10)
    assert found == whole[PART_BYTES - 3 :]


async def test_a_row_is_there_before_the_object(
    contents: Contents, zone: UUID, connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def put(*_: object) -> None:
        assert await connection.fetchval(PINS) is True
        raise StoreAwayError

    monkeypatch.setattr(ObjectStore, "put", put)
    with pytest.raises(StoreAwayError):
        await contents.keep("alpha", zone, LARGE)
    assert await connection.fetchval(PINS) is True, "for as long as it may still arrive"


async def test_parts_end_before_their_pins(
    statements: Statements, zone: UUID, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ObjectStore, "put", lambda *_: asyncio.sleep(30))
    with pytest.raises(StoreAwayError):
        await Contents(statements, store, pin_s=0.1).keep("alpha", zone, LARGE)


async def test_a_zone_that_ends_takes_no_content(
    objects_of: ObjectsOf, contents: Contents, zone: UUID, store: ObjectStore, connection: asyncpg.Connection[Any]
) -> None:
    await connection.execute("UPDATE zones SET phase = 'Terminating', terminating_at = now() WHERE zone_id = 'alpha'")
    with pytest.raises(ZoneEndsError):
        await contents.keep("alpha", zone, LARGE)
    assert objects_of(zone) == []


async def test_what_a_file_has_is_not_swept_and_what_it_had_is(
    objects_of: ObjectsOf,
    contents: Contents,
    zone: UUID,
    statements: Statements,
    store: ObjectStore,
    connection: asyncpg.Connection[Any],
) -> None:
    content = await contents.keep("alpha", zone, LARGE)
    await taken(statements, content)
    await contents.let_go("alpha", content)
    assert await sweep(statements, store) == (0, False)
    await connection.execute("DELETE FROM files")
    assert await sweep(statements, store) == (1, False)
    assert objects_of(zone) == []
    assert await connection.fetchval("SELECT count(*) FROM objects") == 0


async def test_what_has_lost_its_pin_cannot_be_taken(
    contents: Contents, zone: UUID, statements: Statements, store: ObjectStore
) -> None:
    content = await contents.keep("alpha", zone, LARGE)
    await contents.let_go("alpha", content)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await taken(statements, content)
    assert await sweep(statements, store) == (1, False)


async def test_what_a_file_has_stays_whatever_its_pin_says(
    objects_of: ObjectsOf,
    contents: Contents,
    zone: UUID,
    statements: Statements,
    store: ObjectStore,
    connection: asyncpg.Connection[Any],
) -> None:
    content = await contents.keep("alpha", zone, LARGE)
    await taken(statements, content)
    await connection.execute("UPDATE objects SET pinned_until = now()")
    assert await sweep(statements, store) == (0, False)
    assert objects_of(zone) == [str(content.parts[0])]


async def test_an_object_whose_store_is_away_keeps_its_row(
    contents: Contents, zone: UUID, statements: Statements, store: ObjectStore,
    connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    await contents.let_go("alpha", await contents.keep("alpha", zone, LARGE))

    async def away(*_: object) -> None:
        raise StoreAwayError

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "delete", away)
        assert await sweep(statements, store) == (0, False)
    assert await connection.fetchval("SELECT count(*) FROM objects") == 1
    assert await sweep(statements, store) == (1, False)
