"""What loops over all zones do: as the background role, which row-level security does not bind to one zone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from nexmdm.kernel.database import Database, is_unavailable, report_outage
from nexmdm.kernel.log import Origin, origin
from nexmdm.kernel.rights import BACKGROUND
from nexmdm.kernel.statements import Statements
from nexmdm.platform import metrics
from nexmdm.platform.object_store import StoreAwayError
from nexmdm.platform.types import Brick

Loop = Literal["agents", "bricks", "sweeper", "sync", "tasks", "teardown", "uploads"]

STILL_REFERRED_TO: Final = (asyncpg.ForeignKeyViolationError, asyncpg.RestrictViolationError)  # before 18, and since
_CONNECTIONS: Final = 1
# The owner of the tables, whom no policy binds, need not have such a role.
_TAKE_ROLE: Final = (
    f"SELECT set_config('role', rolname, true) FROM pg_roles WHERE rolname = current_user || '{BACKGROUND}'"  # noqa: S608
)
_LOOK_EVERY_S: Final = 0.5  # for a part to be mounted
_ROLE_AND_PART: Final = f"SELECT ({_TAKE_ROLE}), (SELECT mounted FROM bricks WHERE name = $1) AS mounted"  # noqa: S608
_NOTE: Final = "UPDATE bricks SET error = $2 WHERE name = $1 AND mounted AND error IS DISTINCT FROM $2"


class BrickUnmountedError(Exception):
    """The part of the platform that the transaction is of is unmounted."""


@asynccontextmanager
async def over_all_zones(statements: Statements, brick: Brick | None = None) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A transaction that sees every zone. BrickUnmountedError: it would be of a part that is unmounted."""
    async with statements.transaction() as tx:
        row = await tx.fetchrow(_ROLE_AND_PART, brick)
        if brick is not None and not row["mounted"]:
            raise BrickUnmountedError
        yield tx


@asynccontextmanager
async def session_over_all_zones(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """The same in a session."""
    async with engine.begin() as connection:
        await connection.execute(text(_TAKE_ROLE))
        yield connection


async def keep_doing(
    name: Loop,
    db: Database,
    turn: Callable[[Statements], Awaitable[bool]],
    every_s: float,
    stop: asyncio.Event,
    brick: Brick | None = None,
) -> None:
    """Take turns until `stop`, without a pause for as long as a turn says that there is more to do.

    brick: the part whose loop it is. While it is unmounted a turn ends at its next transaction; a failure is noted.
    """
    async with Statements(db, _CONNECTIONS) as statements:
        while not stop.is_set():
            origin.set(Origin(name=f"worker:{name}"))
            more, pause_s = False, every_s
            try:
                more = await turn(statements)
                await _note(statements, brick, None)
                metrics.loop_turns.labels(name).inc()
            except BrickUnmountedError:
                pause_s = min(every_s, _LOOK_EVERY_S)
            except StoreAwayError:
                pass  # which has been logged
            except Exception as error:  # noqa: BLE001 - raised again unless it is an outage
                if not is_unavailable(error):
                    await _note(statements, brick, type(error).__name__)
                report_outage(error)
            if not more:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause_s)


async def _note(statements: Statements, brick: Brick | None, error: str | None) -> None:
    """What the part's loop failed of in its last turn."""
    if brick is not None:
        await statements.fetch(_NOTE, brick, error)
