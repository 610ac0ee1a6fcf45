"""Which revision a database is at, and which we need. It imports no alembic, which would be a tenth of a start."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

LOCK: Final = 7_265_706_112  # any number that nothing else in the database uses as an advisory lock
_FILES: Final = Path(__file__).parent / "migrations" / "versions"
_ASSIGNED: Final = re.compile(r"^(revision|down_revision) = (.+)$", re.MULTILINE)


@cache
def _known() -> dict[str, str | None]:
    """Each revision, with the one before it."""
    known = {}
    for file in _FILES.glob("*.py"):
        names = dict(_ASSIGNED.findall(file.read_text(encoding="utf-8")))
        known[ast.literal_eval(names["revision"])] = ast.literal_eval(names["down_revision"])
    return known


@cache
def head() -> str:
    """The revision that this version of the backend needs."""
    [last] = _known().keys() - set(_known().values())
    return last


def pending(revision: str | None) -> bool:
    """Whether a database at this revision lacks what we need. One that we do not know is of a version after ours."""
    return revision is None or (revision != head() and revision in _known())


async def current(connection: AsyncConnection | AsyncSession) -> str | None:
    """The revision of a database, or None where nothing was ever migrated."""
    # Asked first: a failed SELECT would leave the caller with an aborted transaction.
    known = await connection.execute(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
    if not known.scalar_one():
        return None
    revision: str | None = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()
    return revision
