"""A zone, and the parts of the platform that work without HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from nexmdm.kernel.database import Database
from nexmdm.kernel.statements import Statements
from nexmdm.platform.contents import Contents
from nexmdm.platform.object_store import ObjectStore


@pytest.fixture
async def statements(db: Database) -> AsyncIterator[Statements]:
    async with Statements(db, 4) as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(str(tmp_path / "objects"), timeout_s=5)


@pytest.fixture
def objects_of(tmp_path: Path) -> Callable[[UUID], list[str]]:
    """What lies in the folder of a zone of `store`."""

    def names(zone: UUID) -> list[str]:
        return [path.name for path in (tmp_path / "objects" / "zones" / str(zone)).glob("*")]

    return names


@pytest.fixture
def contents(statements: Statements, store: ObjectStore) -> Contents:
    return Contents(statements, store, 60)


@pytest.fixture
async def zone(connection: asyncpg.Connection[Any]) -> UUID:
    """The uid of a zone `alpha`."""
    uid: UUID = await connection.fetchval("INSERT INTO zones (zone_id, name) VALUES ('alpha', 'A') RETURNING uid")
    return uid
