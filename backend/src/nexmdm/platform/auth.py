"""The caller of a request: a key of role member, agent or admin, the zone that it asks in, the agent that it names.

One statement judges all three and the brick, before anything else of the request; no cache decides. It may be read in
any zone: `zones` is the registry, and a key is found by its hash alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Self
from uuid import UUID

import asyncpg
from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from nexmdm.http.credentials import bearer_token, refusal, single_header
from nexmdm.http.pagination import check_parameters
from nexmdm.http.problems import ADMIN_REQUIRED, OF_A_TOKEN, TOKEN_INVALID, TOKEN_MISSING
from nexmdm.http.runtime import database, service_of
from nexmdm.kernel import keys, rate_limits
from nexmdm.kernel.log import origin
from nexmdm.kernel.problems import Problem
from nexmdm.platform.problems import (
    AGENT_FORBIDDEN,
    AGENT_ID_INVALID,
    BRICK_UNMOUNTED,
    ROLE_FORBIDDEN,
    ZONE_FORBIDDEN,
    ZONE_ID_INVALID,
    ZONE_NOT_FOUND,
    ZONE_TERMINATING,
)
from nexmdm.platform.state import platform
from nexmdm.platform.types import AGENT_ID, ZONE_ID

ADMIN: Final = "admin"
AGENT: Final = "agent"
MEMBER: Final = "member"
RULE: Final = "platform"
_ROLES: Final = [ADMIN, AGENT, MEMBER]
_AGENT_ID: Final = re.compile(AGENT_ID)

# For `answers`.
OF_A_KEY: Final = (*OF_A_TOKEN, ZONE_ID_INVALID, ZONE_FORBIDDEN, ZONE_NOT_FOUND, AGENT_ID_INVALID, AGENT_FORBIDDEN)
OF_AN_ADMIN: Final = (*OF_A_TOKEN, ADMIN_REQUIRED)

_CALLER: Final = f"""
    WITH {keys.JUDGED}
    SELECT good.name, good.role, good.zone AS own_zone, good.subject, z.zone_id, z.uid, z.phase, z.event_seq,
        b.mounted
    FROM good LEFT JOIN zones AS z ON z.zone_id = coalesce($4, good.zone, 'root') LEFT JOIN bricks AS b ON b.name = $5
"""  # noqa: S608 - composed of a constant


_STILL_GOOD: Final = """
    SELECT EXISTS (SELECT FROM zones WHERE zone_id = $1 AND uid = $2 AND phase = 'Active') AS has_zone,
        EXISTS (SELECT FROM api_keys WHERE name = $3 AND revoked_at IS NULL) AS has_key,
        NOT EXISTS (SELECT FROM bricks WHERE name = $4 AND NOT mounted) AS has_brick,
        EXISTS (SELECT FROM mounts WHERE zone_id = $1 AND active) AS has_mounts
"""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `agent_id`: whom X-Agent-Id names, or the agent of the key. `last_event`: its number in the zone."""

    name: str
    role: str
    own_zone: str | None
    zone_id: str
    zone_uid: UUID
    agent_id: str | None
    last_event: int

    @classmethod
    def of(cls, row: asyncpg.Record, agent_id: str | None = None) -> Self:
        """The caller of a row of `_CALLER`."""
        return cls(
            name=row["name"],
            role=row["role"],
            own_zone=row["own_zone"],
            zone_id=row["zone_id"],
            zone_uid=row["uid"],
            agent_id=agent_id,
            last_event=row["event_seq"],
        )

    @property
    def is_admin(self) -> bool:
        return self.role == ADMIN

    def may_see(self, zone_id: str) -> bool:
        """Whether the key is good for the zone."""
        return self.is_admin or self.own_zone == zone_id


async def judge_again(tx: asyncpg.Connection[Any], caller: Caller, brick: str | None = None) -> bool:
    """Within the transaction of what is done: a body may take long, and a turn, and the calls before.

    Returns whether the zone has active mounts.

    Raises:
        Problem: the key is revoked by now, or the zone is being deleted or another one of its id, or the brick away.
    """
    good = await tx.fetchrow(_STILL_GOOD, caller.zone_id, caller.zone_uid, caller.name, brick)
    assert good is not None
    if not good["has_key"]:
        raise Problem(TOKEN_INVALID)
    if not good["has_zone"]:
        raise Problem(ZONE_TERMINATING)
    if not good["has_brick"]:
        raise Problem(BRICK_UNMOUNTED)
    return bool(good["has_mounts"])


def _presented(request: Request) -> str | None:
    """The key of `Authorization: Bearer KEY`, or of the header alone, as clients of such platforms send it."""
    alone = single_header(request, "authorization") or ""
    return alone if alone.startswith(keys.PREFIX) else bearer_token(request)


async def _find(request: Request, zone: str | None, brick: str | None) -> asyncpg.Record:
    """The row of `_CALLER`. Problem: 401."""
    if "authorization" not in request.headers:
        raise await refusal(request, TOKEN_MISSING)
    key_hash = keys.hash_of(_presented(request) or "")
    rows = []
    if key_hash is not None:
        statements, service = platform(request).statements, service_of(request)
        rows = await statements.fetch(_CALLER, key_hash, service, _ROLES, zone, brick)
    if not rows:
        raise await refusal(request, TOKEN_INVALID)
    row: asyncpg.Record = rows[0]
    subject = f"key:{row['name']}"
    origin.get().subject = subject
    if (limit := platform(request).settings.platform_limit_key) is not None:
        await rate_limits.hit(database(request), RULE, subject, limit)
    return row


def _named_agent(request: Request, row: asyncpg.Record) -> str | None:
    values = request.headers.getlist("x-agent-id")
    if not values:
        named: str | None = row["subject"]
        return named
    if len(values) > 1 or _AGENT_ID.fullmatch(values[0]) is None:
        raise Problem(AGENT_ID_INVALID, "Send X-Agent-Id once, as 1 to 128 letters, digits, `.`, `_`, `:` and `-`.")
    if row["role"] == AGENT and values[0] != row["subject"]:
        raise Problem(AGENT_FORBIDDEN)
    return values[0]


class InZone:
    """The dependency of an operation within a zone: `Depends(InZone(brick="files"))`."""

    def __init__(self, *, brick: str | None = None) -> None:
        self._brick = brick

    async def __call__(self, request: Request) -> Caller:
        """The caller.

        Raises:
            Problem: 401, 400, 403, 404, 409, 503, in this order.
        """
        wanted = request.headers.getlist("x-nexus-zone-id")
        row = await _find(request, wanted[0] if wanted else None, self._brick)
        if len(wanted) > 1:
            raise Problem(ZONE_ID_INVALID, "Send X-Nexus-Zone-ID once.")
        agent_id = _named_agent(request, row)
        if wanted and row["role"] != ADMIN and wanted[0] != row["own_zone"]:
            raise await refusal(request, ZONE_FORBIDDEN)
        if row["zone_id"] is None:
            raise Problem(ZONE_NOT_FOUND)
        if row["phase"] != "Active":
            raise Problem(ZONE_TERMINATING)
        if row["mounted"] is False:
            raise Problem(BRICK_UNMOUNTED)
        return Caller.of(row, agent_id)


async def any_member(request: Request) -> Caller:
    """A member or an admin, whose request names its zone in the path or is about every zone that it may see."""
    row = await _find(request, None, None)
    if row["role"] == AGENT:
        raise await refusal(request, ROLE_FORBIDDEN)
    check_parameters(request)
    return Caller.of(row)


async def require_admin(request: Request) -> Caller:
    """An admin, whatever the zone."""
    row = await _find(request, None, None)
    if row["role"] != ADMIN:
        raise await refusal(request, ADMIN_REQUIRED)
    check_parameters(request)
    return Caller.of(row)


def _header(name: str, pattern: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": {"type": "string", "pattern": f"^{pattern}$"}}


ZONE_HEADERS: Final = [_header("X-Nexus-Zone-ID", ZONE_ID), _header("X-Agent-Id", AGENT_ID)]
# The scheme only describes: the dependencies beside it judge, and refuse what FastAPI's own would let pass.
DESCRIBED: Final = Depends(HTTPBearer(scheme_name="zoneKey", auto_error=False))
Admin = Annotated[Caller, Depends(require_admin)]
Member = Annotated[Caller, Depends(any_member)]
