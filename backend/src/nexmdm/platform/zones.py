"""Zones: made, looked at, listed, given limits, and deleted. What their deletion removes stands in `teardown`."""

from __future__ import annotations

import secrets
from operator import itemgetter
from typing import Annotated, Any, Final

import asyncpg
from fastapi import APIRouter, Depends, Path, Query, Request

from nexmdm.http.json_body import JsonBody
from nexmdm.http.pagination import IN_DIGITS, Paging
from nexmdm.http.problems import ADMIN_REQUIRED, OF_A_BODY, OF_A_TOKEN
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import VALIDATION_ERROR, FieldError, Problem, answers, invalid
from nexmdm.platform.auth import DESCRIBED, OF_AN_ADMIN, Admin, Caller, Member
from nexmdm.platform.events import ZONE_CREATED, ZONE_TERMINATING, ZONE_UPDATED
from nexmdm.platform.problems import (
    ROLE_FORBIDDEN,
    ZONE_EXISTS,
    ZONE_FORBIDDEN,
    ZONE_NOT_FOUND,
    ZONE_PROTECTED,
)
from nexmdm.platform.problems import ZONE_TERMINATING as TERMINATING
from nexmdm.platform.state import platform
from nexmdm.platform.types import LIMITS, ROOT, USAGE, ZONE_ID, is_zone_id
from nexmdm.platform.zone_row import Change, ZoneEndsError, commit_change
from nexmdm.platform.zone_views import Limits, NewZone, ZoneChanges, Zones, ZoneView, view

router = APIRouter(tags=["zones"], dependencies=[DESCRIBED])

# The steps of a deletion, in their order.
FINALIZERS: Final = (
    "uploads",
    "files",
    "mount_changes",
    "mount_conflicts",
    "mount_runs",
    "mount_bases",
    "mounts",
    "agents",
    "tasks",
    "events",
    "objects",
    "keys",
)
_OF_A_MEMBER: Final = (*OF_A_TOKEN, ROLE_FORBIDDEN, ZONE_FORBIDDEN, ZONE_NOT_FOUND)
_COLUMNS: Final = ", ".join(
    ("zone_id", "name", "domain", "description", "owner", "phase", "created_at", "updated_at", *LIMITS, *USAGE.values())
)
_INSERT: Final = f"""
    INSERT INTO zones (zone_id, name, domain, description, owner, {", ".join(LIMITS)})
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (zone_id) DO NOTHING RETURNING {_COLUMNS}
"""  # noqa: S608 - composed of the constants above
_SELECT: Final = f"""
    SELECT {_COLUMNS}, coalesce((
        SELECT jsonb_agg(jsonb_build_object('name', f.name, 'removed', f.removed, 'done', f.finished_at IS NOT NULL)
            ORDER BY f.position)
        FROM zone_finalizers AS f WHERE f.zone_id = z.zone_id), '[]') AS finalizers
    FROM zones AS z
"""  # noqa: S608 - composed of the constants above
_ONE: Final = f"{_SELECT} WHERE zone_id = $1"
_PAGE: Final = f"""
    {_SELECT} WHERE ($1::text IS NULL OR zone_id = $1) AND ($2::timestamptz IS NULL OR (created_at, zone_id) < ($2, $3))
    ORDER BY created_at DESC, zone_id DESC LIMIT $4 OFFSET $5
"""
_TOTAL: Final = "SELECT count(*) FROM zones WHERE $1::text IS NULL OR zone_id = $1"
_TERMINATE: Final = """
    UPDATE zones SET phase = 'Terminating', terminating_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE zone_id = $1
"""
_BEGIN_TEARDOWN: Final = """
    INSERT INTO zone_finalizers (zone_id, position, name)
    SELECT $1, position, name FROM unnest($2::text[]) WITH ORDINALITY AS step (name, position)
"""

_PATH: Final = Path(json_schema_extra={"pattern": f"^{ZONE_ID}$"})  # another one is 404
_new_zone: Final[JsonBody[NewZone]] = JsonBody(NewZone)
_changes: Final[JsonBody[ZoneChanges]] = JsonBody(ZoneChanges)


async def _of_path(zone_id: Annotated[str, _PATH], caller: Member) -> str:
    """The id of the path, where the caller may see the zone."""
    if not caller.may_see(zone_id):
        raise Problem(ZONE_FORBIDDEN)
    if not is_zone_id(zone_id):
        raise Problem(ZONE_NOT_FOUND)
    return zone_id


Visible = Annotated[str, Depends(_of_path)]


async def _row(tx: asyncpg.Connection[Any], zone_id: str) -> asyncpg.Record:
    row = await tx.fetchrow(_ONE, zone_id)
    if row is None:
        raise Problem(ZONE_NOT_FOUND)
    return row


async def make_zone(tx: asyncpg.Connection[Any], new: NewZone) -> asyncpg.Record | None:
    """A zone with its first event, in the caller's transaction; None where there is one of this id."""
    limits = new.limits or Limits()
    given = (new.zone_id, new.name, new.domain, new.description, new.owner, *(getattr(limits, one) for one in LIMITS))
    row = await tx.fetchrow(_INSERT, *given)
    if row is not None:
        await commit_change(tx, row["zone_id"], Change(type="zone.created"))
    return row


@router.post(
    "/api/zones",
    status_code=201,
    operation_id="createZone",
    responses=answers(*OF_AN_ADMIN, *OF_A_BODY, ZONE_EXISTS),
    openapi_extra=_new_zone.openapi,
)
async def create_zone(request: Request, _caller: Admin, given: Annotated[NewZone, Depends(_new_zone)]) -> ZoneView:
    """Make a zone."""
    new = given if given.zone_id else given.model_copy(update={"zone_id": f"z-{secrets.token_hex(8)}"})
    assert new.zone_id is not None
    async with platform(request).within(new.zone_id) as tx:
        row = await make_zone(tx, new)
        if row is None:
            raise Problem(ZONE_EXISTS)
    emit(ZONE_CREATED, zone_id=new.zone_id)
    return view(row)


@router.get(
    "/api/zones",
    operation_id="listZones",
    responses=answers(*OF_A_TOKEN, ROLE_FORBIDDEN, VALIDATION_ERROR),
)
async def list_zones(
    request: Request,
    caller: Member,
    paging: Annotated[Paging, Depends()],
    offset: Annotated[int, Query(ge=0, le=10_000), IN_DIGITS] = 0,
) -> Zones:
    """The zones that the caller may see, newest first. Only the cursor promises each of them once."""
    if paging.cursor is not None and offset:
        raise invalid("/query/offset", "cursor", "Give an offset or a cursor, not both.")
    after = paging.after() or (None, None)
    own = None if caller.is_admin else caller.own_zone
    async with platform(request).within(caller.zone_id) as tx:
        rows = await tx.fetch(_PAGE, own, *after, paging.limit + 1, offset)
        total = await tx.fetchval(_TOTAL, own)
    shown, cursor = paging.cut(rows, itemgetter("created_at", "zone_id"))
    return Zones(zones=[view(row) for row in shown], total=total, next_cursor=cursor)


@router.get("/api/zones/{zone_id}", operation_id="getZone", responses=answers(*_OF_A_MEMBER))
async def get_zone(request: Request, zone_id: Visible) -> ZoneView:
    """Look at a zone, also while it is being deleted."""
    async with platform(request).within(zone_id) as tx:
        return view(await _row(tx, zone_id))


@router.patch(
    "/api/zones/{zone_id}",
    operation_id="updateZone",
    responses=answers(*OF_AN_ADMIN, *OF_A_BODY, ZONE_NOT_FOUND, TERMINATING),
    openapi_extra=_changes.openapi,
)
async def update_zone(
    request: Request,
    zone_id: Annotated[str, _PATH],
    _caller: Admin,
    changes: Annotated[ZoneChanges, Depends(_changes)],
) -> ZoneView:
    """Change limits or the owner. A limit below what is used refuses growth, and nothing else."""
    if not changes.model_fields_set:
        errors: list[FieldError] = [{"pointer": "/body", "code": "too_short", "message": "Give limits, owner or both."}]
        raise Problem(VALIDATION_ERROR, errors=errors)
    values = {} if changes.limits is None else changes.limits.model_dump(include=changes.limits.model_fields_set)
    if changes.owner is not None:
        values["owner"] = changes.owner
    if not is_zone_id(zone_id):
        raise Problem(ZONE_NOT_FOUND)
    assignments = "".join(f", {name} = ${place}" for place, name in enumerate(values, 2))
    async with platform(request).changing(zone_id) as tx:
        await _row(tx, zone_id)
        try:
            await tx.execute(
                f"UPDATE zones SET updated_at = clock_timestamp(){assignments} WHERE zone_id = $1",  # noqa: S608 - our names
                zone_id,
                *values.values(),
            )
            await commit_change(tx, zone_id, Change(type="zone.updated"))
            row = await _row(tx, zone_id)
        except ZoneEndsError:
            raise Problem(TERMINATING) from None
    emit(ZONE_UPDATED, zone_id=zone_id)
    return view(row)


@router.delete(
    "/api/zones/{zone_id}",
    status_code=202,
    operation_id="deleteZone",
    responses=answers(*_OF_A_MEMBER, ADMIN_REQUIRED, ZONE_PROTECTED),
)
async def delete_zone(request: Request, caller: Member, zone_id: Visible) -> ZoneView:
    """Begin to delete a zone with everything in it; may be repeated."""
    begun = False
    async with platform(request).changing(zone_id) as tx:
        _check_owner(caller, await _row(tx, zone_id))
        if zone_id == ROOT:
            raise Problem(ZONE_PROTECTED)
        try:
            await commit_change(tx, zone_id, Change(type="zone.terminating"))
            await tx.execute(_TERMINATE, zone_id)
            await tx.execute(_BEGIN_TEARDOWN, zone_id, FINALIZERS)
            begun = True
        except ZoneEndsError:  # somebody else was first
            pass
        row = await _row(tx, zone_id)
    if begun:
        emit(ZONE_TERMINATING, zone_id=zone_id)
    return view(row)


def _check_owner(caller: Caller, row: asyncpg.Record) -> None:
    if not caller.is_admin and row["owner"] != caller.name:
        raise Problem(ADMIN_REQUIRED)
