"""API keys over HTTP, for admins: made, listed and revoked, each of a member's or agent's for one zone."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import asyncpg
from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field
from sqlmodel import col, select

from nexmdm.http.json_body import JsonBody
from nexmdm.http.pagination import Page, Paging
from nexmdm.http.problems import OF_A_BODY
from nexmdm.http.runtime import Session
from nexmdm.http.types import Maybe, Shape
from nexmdm.kernel import keys
from nexmdm.kernel.keys import KeyRefused, NewKey
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import VALIDATION_ERROR, Problem, answers, invalid
from nexmdm.kernel.tables import ApiKey
from nexmdm.platform.auth import DESCRIBED, OF_AN_ADMIN, Admin
from nexmdm.platform.events import KEY_CREATED, KEY_REVOKED
from nexmdm.platform.problems import KEY_EXISTS, KEY_NOT_FOUND, ZONE_NOT_FOUND, ZONE_TERMINATING
from nexmdm.platform.state import platform
from nexmdm.platform.types import AGENT_ID, is_zone_id

router = APIRouter(tags=["keys"], dependencies=[DESCRIBED])

_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_OF_PATH: Final = Path(json_schema_extra={"pattern": _NAME})  # another one is 404
# Locked against the zone's deletion, whose last step revokes its keys.
_ZONE: Final = "SELECT phase FROM zones WHERE zone_id = $1 FOR SHARE"


class NewZoneKey(Shape):
    """A key of a zone. An agent's speaks for `subject`, by default its name. Admins: `nexmdm keys create`."""

    name: Annotated[str, Field(pattern=_NAME)]
    role: Literal["member", "agent"]
    zone: Annotated[str, Field(max_length=63)]
    subject: Maybe[Annotated[str, Field(pattern=f"^{AGENT_ID}$")]] = None


class KeyView(BaseModel):
    """A key without its secret. `services` null: all of them."""

    name: str
    role: Literal["member", "agent", "admin", "track"]
    services: list[str] | None
    zone: str | None
    subject: str | None
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class MadeKey(KeyView):
    """With the key itself, this once."""

    key: str


_new_key: Final[JsonBody[NewZoneKey]] = JsonBody(NewZoneKey)


async def zone_takes_keys(session: asyncpg.Connection[Any], zone: str) -> None:
    """The zone stays until the caller's transaction ends. KeyRefused: it is not there, or is being deleted."""
    if await session.fetchval(_ZONE, zone) != "Active":
        raise KeyRefused(f"there is no zone {zone!r}, or it is being deleted")


@router.post(
    "/api/keys",
    status_code=201,
    operation_id="createKey",
    responses=answers(*OF_AN_ADMIN, *OF_A_BODY, ZONE_NOT_FOUND, ZONE_TERMINATING, KEY_EXISTS),
    openapi_extra=_new_key.openapi,
)
async def create_key(request: Request, _caller: Admin, given: Annotated[NewZoneKey, Depends(_new_key)]) -> MadeKey:
    """Make a key and show it, this once."""
    if given.subject is not None and given.role != "agent":
        raise invalid("/body/subject", "subject", "A subject is an agent's.")
    new = NewKey(name=given.name, role=given.role, zone=given.zone, subject=given.subject)
    if not is_zone_id(given.zone):
        raise Problem(ZONE_NOT_FOUND)
    async with platform(request).within(given.zone) as tx:
        phase = await tx.fetchval(_ZONE, given.zone)
        if phase != "Active":
            raise Problem(ZONE_NOT_FOUND if phase is None else ZONE_TERMINATING)
        made = await keys.insert(tx, new)
        if made is None:
            raise Problem(KEY_EXISTS)
    emit(KEY_CREATED, name=given.name, role=given.role, zone=given.zone)
    return MadeKey(key=made[0], **made[1].fields())


@router.get("/api/keys", operation_id="listKeys", responses=answers(*OF_AN_ADMIN, VALIDATION_ERROR))
async def list_keys(_caller: Admin, session: Session, paging: Annotated[Paging, Depends()]) -> Page[KeyView]:
    """All keys, newest first, revoked ones too."""
    columns = [getattr(ApiKey, name) for name in KeyView.model_fields]
    return await paging.read(session, select(*columns), col(ApiKey.created_at), col(ApiKey.name), _view)


def _view(row: Any) -> KeyView:
    return KeyView.model_validate(row, from_attributes=True)


@router.delete("/api/keys/{name}", operation_id="revokeKey", responses=answers(*OF_AN_ADMIN, KEY_NOT_FOUND))
async def revoke_key(request: Request, _caller: Admin, name: Annotated[str, _OF_PATH]) -> KeyView:
    """Revoke a key: its next request is refused, everywhere. May be repeated."""
    row = None if "\0" in name else await keys.end(platform(request).statements, name)
    if row is None:
        raise Problem(KEY_NOT_FOUND)
    emit(KEY_REVOKED, name=row.name)
    return KeyView(**row.fields())
