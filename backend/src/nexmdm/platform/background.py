"""What loops over all zones do: as the background role, which row-level security does not bind to one zone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from nexmdm.kernel.database import Database, report_outage
from nexmdm.kernel.log import Origin, origin
from nexmdm.kernel.rights import BACKGROUND
from nexmdm.kernel.statements import Statements
from nexmdm.platform.object_store import StoreAwayError

STILL_REFERRED_TO: Final = (asyncpg.ForeignKeyViolationError, asyncpg.RestrictViolationError)  # before 18, and since
_CONNECTIONS: Final = 1
# The owner of the tables, whom no policy binds, need not have such a role.
_TAKE_ROLE: Final = (
    f"SELECT set_config('role', rolname, true) FROM pg_roles WHERE rolname = current_user || '{BACKGROUND}'"  # noqa: S608
)


@asynccontextmanager
async def over_all_zones(statements: Statements) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A transaction that sees every zone."""
    async with statements.transaction(f"BEGIN; {_TAKE_ROLE}") as tx:
        yield tx


@asynccontextmanager
async def session_over_all_zones(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """The same in a session."""
    async with engine.begin() as connection:
        await connection.execute(text(_TAKE_ROLE))
        yield connection


async def keep_doing(
    name: str, db: Database, turn: Callable[[Statements], Awaitable[bool]], every_s: float, stop: asyncio.Event
) -> None:
    """Take turns until `stop`, without a pause for as long as a turn says that there is more to do."""
    async with Statements(db, _CONNECTIONS) as statements:
        while not stop.is_set():
            origin.set(Origin(name=f"worker:{name}"))
            more = False
            try:
                more = await turn(statements)
            except StoreAwayError:
                pass  # which has been logged
            except Exception as error:  # noqa: BLE001 - raised again unless it is an outage
                report_outage(error)
            if not more:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), every_s)
