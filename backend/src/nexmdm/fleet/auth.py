"""The bearer tokens of the fleet: which device or which enrolment token a request carries."""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from sqlalchemy import case, func
from sqlmodel import col, select

from nexmdm.fleet.device_tokens import DeviceIdentity
from nexmdm.fleet.events import TOKEN_EXPIRED
from nexmdm.fleet.problems import NOT_ACTIVE
from nexmdm.fleet.state import fleet
from nexmdm.fleet.tables.devices import EnrollmentToken
from nexmdm.http.credentials import bearer, refusal
from nexmdm.http.problems import TOKEN_INVALID
from nexmdm.http.runtime import database
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import Problem

# By the database's clock, which all workers share. The order is that of the answer's precedence.
TOKEN_STATUS: Final = case(
    (col(EnrollmentToken.revoked_at).is_not(None), "revoked"),
    (col(EnrollmentToken.uses_consumed) >= col(EnrollmentToken.uses_allowed), "exhausted"),
    (col(EnrollmentToken.expires_at) <= func.now(), "expired"),
    else_="active",
).label("status")

_ENROLMENT_TOKEN: Final = re.compile(r"nxe_[A-Za-z0-9_-]{43}")


def mint_enrolment_token() -> tuple[str, str]:
    """A new enrolment token and the hash that is stored."""
    token = f"nxe_{secrets.token_urlsafe(32)}"
    return token, hash_enrolment_token(token)


def hash_enrolment_token(token: str) -> str:
    """SHA-256 suffices: the token has 256 random bits."""
    return sha256(token.encode()).hexdigest()


async def current_device(request: Request) -> DeviceIdentity:
    """The device whose token the request carries; only its row says whether the token is still good."""
    token = await bearer(request)
    identity = await fleet(request).tokens.identify(token)
    if identity is None:
        raise await refusal(request, TOKEN_INVALID)
    return identity


async def stale_device(request: Request, identity: DeviceIdentity) -> Problem:
    """For a device route whose statement found the token version gone."""
    fleet(request).tokens.forget(identity)
    return await refusal(request, TOKEN_INVALID)


async def active_enrolment_token(request: Request) -> EnrollmentToken:
    """The usable enrolment token of the request; consumes nothing."""
    presented = await bearer(request)
    if _ENROLMENT_TOKEN.fullmatch(presented) is None:
        raise await refusal(request, TOKEN_INVALID)
    query = select(EnrollmentToken, TOKEN_STATUS).where(EnrollmentToken.token_hash == hash_enrolment_token(presented))
    async with database(request).sessions() as session:
        row = (await session.execute(query)).first()
    if row is None:
        raise await refusal(request, TOKEN_INVALID)
    token: EnrollmentToken = row[0]
    if row.status == "expired":
        emit(TOKEN_EXPIRED, "warning", token_id=str(token.token_id), alias=token.alias)
    if row.status != "active":
        raise await refusal(request, NOT_ACTIVE[row.status])
    return token


_device_scheme = HTTPBearer(scheme_name="deviceToken", auto_error=False)
_enrolment_scheme = HTTPBearer(scheme_name="enrolmentToken", auto_error=False)

# The schemes only describe: the dependencies beside them judge, and refuse what FastAPI's own would let pass.
DescribeDevice = Depends(_device_scheme)
DescribeEnrolment = Depends(_enrolment_scheme)

CurrentDevice = Annotated[DeviceIdentity, Depends(current_device)]
CurrentEnrolment = Annotated[EnrollmentToken, Depends(active_enrolment_token)]
