"""The parts of the platform: an admin decides whether each is to serve, every process heeds it, restarts included.

The keys of `brick_needs` decide what may be unmounted and mounted, also when two changes race.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Final, Literal

from asyncpg import ForeignKeyViolationError
from fastapi import APIRouter, Path, Request
from pydantic import BaseModel

from nexmdm.kernel.database import Database
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import VALIDATION_ERROR, Problem, answers
from nexmdm.kernel.settings import Settings
from nexmdm.kernel.statements import Statements
from nexmdm.platform import claims, metrics
from nexmdm.platform.auth import DESCRIBED, OF_AN_ADMIN, Admin
from nexmdm.platform.background import keep_doing
from nexmdm.platform.events import BRICK_MOUNTED, BRICK_UNMOUNTED
from nexmdm.platform.problems import BRICK_IN_USE, BRICK_NEEDS_ANOTHER, BRICK_NOT_FOUND
from nexmdm.platform.state import platform
from nexmdm.platform.types import BRICK_STATES, BRICKS, ROOT, BrickState, EventType
from nexmdm.platform.zone_row import Change, commit_changes

router = APIRouter(tags=["bricks"], dependencies=[DESCRIBED])

Action = Literal["mount", "unmount", "remount"]
_COUNT_EVERY_S: Final = 1.0
_PATH: Final = "/api/v2/bricks"
_NAME: Final = Path(json_schema_extra={"pattern": "^[a-z]{1,32}$"})  # another one is 404
_OF_A_BRICK: Final = (*OF_AN_ADMIN, VALIDATION_ERROR, BRICK_NOT_FOUND)
_STATE: Final = "CASE WHEN NOT mounted THEN 'unmounted' WHEN error IS NOT NULL THEN 'failed' ELSE 'active' END"
_ALL: Final = f"""
    SELECT name, {_STATE} AS state, error,
        CASE WHEN mounted THEN changed_at END AS started_at, CASE WHEN NOT mounted THEN changed_at END AS stopped_at,
        ARRAY(SELECT needs FROM brick_needs WHERE brick = name ORDER BY needs) AS needs,
        ARRAY(SELECT brick FROM brick_needs WHERE needs = name ORDER BY brick) AS needed_by
    FROM bricks WHERE name = coalesce($2, name) ORDER BY array_position($1::text[], name), name
"""  # noqa: S608 - composed of the constant above
_STATES: Final = f"SELECT name, {_STATE} AS state FROM bricks"  # noqa: S608 - as above
_HOLD: Final = "SELECT mounted, error FROM bricks WHERE name = $1 FOR UPDATE"
_CHANGE: Final = "UPDATE bricks SET mounted = $2, error = NULL, changed_at = clock_timestamp() WHERE name = $1"


class BrickView(BaseModel):
    """A part. `error`: what its loop failed of in its last turn. `needs`: parts that are mounted while it is."""

    name: str
    state: BrickState
    error: str | None
    started_at: datetime | None
    stopped_at: datetime | None
    needs: list[str]
    needed_by: list[str]


class BricksHealth(BaseModel):
    """All parts, those that need others first. An unmounted one is neither active nor failed."""

    total: int
    active: int
    failed: int
    bricks: list[BrickView]


class Changed(BaseModel):
    """What the part is now."""

    name: str
    action: Action
    state: BrickState
    error: str | None = None


async def _views(request: Request, name: str | None = None) -> list[BrickView]:
    rows = await platform(request).statements.fetch(_ALL, list(BRICKS), name)
    return [BrickView(**row) for row in rows]


@router.get(f"{_PATH}/health", operation_id="getBricksHealth", responses=answers(*OF_AN_ADMIN, VALIDATION_ERROR))
async def get_bricks_health(request: Request, _caller: Admin) -> BricksHealth:
    """What each part is to do, and does, of all processes."""
    bricks = await _views(request)
    states = [brick.state for brick in bricks]
    return BricksHealth(total=len(bricks), active=states.count("active"), failed=states.count("failed"), bricks=bricks)


@router.get(f"{_PATH}/{{name}}", operation_id="getBrick", responses=answers(*_OF_A_BRICK))
async def get_brick(request: Request, _caller: Admin, name: Annotated[str, _NAME]) -> BrickView:
    """Look at one part."""
    for brick in [] if "\0" in name else await _views(request, name):
        return brick
    raise Problem(BRICK_NOT_FOUND)


@router.post(
    f"{_PATH}/{{name}}/mount",
    operation_id="mountBrick",
    responses=answers(*_OF_A_BRICK, BRICK_NEEDS_ANOTHER),
)
async def mount(request: Request, _caller: Admin, name: Annotated[str, _NAME]) -> Changed:
    """Let a part serve. May be repeated."""
    return await _change(request, name, "mount")


@router.post(f"{_PATH}/{{name}}/unmount", operation_id="unmountBrick", responses=answers(*_OF_A_BRICK, BRICK_IN_USE))
async def unmount(request: Request, _caller: Admin, name: Annotated[str, _NAME]) -> Changed:
    """Let a part refuse, in every process, until it is mounted. May be repeated."""
    return await _change(request, name, "unmount")


@router.post(
    f"{_PATH}/{{name}}/remount",
    operation_id="remountBrick",
    responses=answers(*_OF_A_BRICK, BRICK_NEEDS_ANOTHER),
)
async def remount(request: Request, _caller: Admin, name: Annotated[str, _NAME]) -> Changed:
    """Restart a part, whatever its state; in between no request sees it unmounted."""
    return await _change(request, name, "remount")


def _told(action: Action, *, was_mounted: bool) -> list[EventType]:
    """The events of what the action changes; none where it is a repeat."""
    if action == "remount":
        return ["brick.unmounted", "brick.mounted"] if was_mounted else ["brick.mounted"]
    if was_mounted == (action == "mount"):
        return []
    return ["brick.mounted" if action == "mount" else "brick.unmounted"]


async def _change(request: Request, name: str, action: Action) -> Changed:
    """Change one part, with its events in the root zone. Problem: there is no such part; another one is in the way."""
    mounted, own = action != "unmount", platform(request)
    try:
        async with own.changing(ROOT) as tx:
            was = None if "\0" in name else await tx.fetchrow(_HOLD, name)
            if was is None:
                raise Problem(BRICK_NOT_FOUND)
            told = _told(action, was_mounted=was["mounted"])
            if told:
                await tx.execute(_CHANGE, name, mounted)
                await commit_changes(tx, ROOT, Change(type=None), [(event, name) for event in told])
    except ForeignKeyViolationError:
        raise Problem(BRICK_NEEDS_ANOTHER if mounted else BRICK_IN_USE) from None
    for event in told:
        emit(BRICK_MOUNTED if event == "brick.mounted" else BRICK_UNMOUNTED, brick=name, action=action)
    if told and not mounted:
        await claims.notify_all(own.statements)
    error = None if told else was["error"]
    state: BrickState = "unmounted" if not mounted else "active" if error is None else "failed"
    return Changed(name=name, action=action, state=state, error=error)


async def _count(statements: Statements) -> bool:
    """Tell the metrics of the state of each part."""
    states = {row["name"]: row["state"] for row in await statements.fetch(_STATES)}
    for name in BRICKS:
        for state in BRICK_STATES:
            metrics.bricks.labels(name, state).set(states.get(name) == state)
    return False


async def keep_counting(db: Database, _settings: Settings, stop: asyncio.Event) -> None:
    """Count them until `stop`."""
    await keep_doing("bricks", db, _count, _COUNT_EVERY_S, stop)
