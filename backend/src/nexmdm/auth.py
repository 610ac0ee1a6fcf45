"""Who is calling: devices, enrolment tokens, the admin. It decides no noun's rule and writes no row but rate limits.

What a device token is worth `tokens` says. Here every refusal of a credential is counted, logged and, for a source that
keeps failing, turned into 429. A good credential is let in whatever its source has done before.
"""

from __future__ import annotations

import hmac
import re
import secrets
from hashlib import sha256
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPBearer
from sqlalchemy import case, func
from sqlmodel import col, select

from nexmdm import limits, metrics
from nexmdm.db import database, is_unavailable
from nexmdm.errors import Problem
from nexmdm.logs import Event, emit
from nexmdm.sources import RULE, LimitedSources
from nexmdm.tables import EnrollmentToken
from nexmdm.tokens import DeviceIdentity, DeviceTokens

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


def client_ip(request: Request) -> str | None:
    """The peer's address, as the proxy headers that uvicorn trusts have it."""
    return request.client.host if request.client else None


async def refusal(request: Request, code: str) -> Problem:
    """The Problem for a failed authentication: counted, logged, and turned into 429 for a source that keeps failing."""
    ip = client_ip(request)
    metrics.auth_failures.labels(code).inc()
    emit(Event.AUTH_FAIL, "warning", code=code, ip=ip)
    source = ip or "unknown"
    sources: LimitedSources = request.app.state.limited_sources
    if (wait_s := sources.wait_s(source)) is not None:
        return limits.refusal(RULE, wait_s)
    limit = request.app.state.settings.limit_auth_fail
    try:
        await limits.hit(database(request), RULE, source, limit)
    except Problem as limited:
        sources.add(source, limits.pause_s(limit))
        return limited
    except Exception as error:
        if not is_unavailable(error):
            raise
        # A refusal needs no database: the caller learns no less, and no more, during an outage.
    return Problem(code)


def _single(request: Request, header: str) -> str | None:
    values = request.headers.getlist(header)
    return values[0] if len(values) == 1 else None


async def bearer(request: Request) -> str:
    """The one bearer token of the request (RFC 6750 section 2.1)."""
    if "authorization" not in request.headers:
        raise await refusal(request, "token_missing")
    scheme, _, rest = (_single(request, "authorization") or "").partition(" ")
    token = rest.lstrip(" ")  # one space or more (RFC 9110, section 11.4)
    if scheme.lower() != "bearer" or not token:
        raise await refusal(request, "token_invalid")
    return token


async def current_device(request: Request) -> DeviceIdentity:
    """The device whose token the request carries; only its row says whether the token is still good."""
    token = await bearer(request)
    tokens: DeviceTokens = request.app.state.device_tokens
    identity = await tokens.identify(token)
    if identity is None:
        raise await refusal(request, "token_invalid")
    return identity


async def stale_device(request: Request, identity: DeviceIdentity) -> Problem:
    """For a device route whose statement found the token version gone."""
    tokens: DeviceTokens = request.app.state.device_tokens
    tokens.forget(identity)
    return await refusal(request, "token_invalid")


async def active_enrolment_token(request: Request) -> EnrollmentToken:
    """The usable enrolment token of the request; consumes nothing."""
    presented = await bearer(request)
    if _ENROLMENT_TOKEN.fullmatch(presented) is None:
        raise await refusal(request, "token_invalid")
    query = select(EnrollmentToken, TOKEN_STATUS).where(EnrollmentToken.token_hash == hash_enrolment_token(presented))
    async with database(request).sessions() as session:
        row = (await session.execute(query)).first()
    if row is None:
        raise await refusal(request, "token_invalid")
    token: EnrollmentToken = row[0]
    if row.status == "expired":
        emit(Event.TOKEN_EXPIRED, "warning", token_id=str(token.token_id), alias=token.alias)
    if row.status != "active":
        raise await refusal(request, f"token_{row.status}")
    return token


async def require_admin(request: Request) -> None:
    """The right X-Admin, once, compared in constant time."""
    expected: str = request.app.state.settings.admin_key.get_secret_value()
    given = _single(request, "x-admin") or ""
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise await refusal(request, "admin_required")


async def _limited_admin(request: Request) -> None:
    await require_admin(request)
    await limits.hit(database(request), "admin", ADMIN, request.app.state.settings.limit_admin)


ADMIN: Final = "admin"  # there is one admin key (seed 001), so one subject and one `issued_by`

_device_scheme = HTTPBearer(scheme_name="deviceToken", auto_error=False)
_enrolment_scheme = HTTPBearer(scheme_name="enrolmentToken", auto_error=False)
_admin_scheme = APIKeyHeader(name="X-Admin", scheme_name="adminKey", auto_error=False)

# The schemes only describe: the dependencies beside them judge, and refuse what FastAPI's own would let pass.
DescribeDevice = Depends(_device_scheme)
DescribeEnrolment = Depends(_enrolment_scheme)
# Of a router: dependencies of a router are judged before anything that a route asks for.
ADMIN_ONLY: Final = [Depends(_admin_scheme), Depends(_limited_admin)]
DescribeAdmin = Depends(_admin_scheme)

CurrentDevice = Annotated[DeviceIdentity, Depends(current_device)]
CurrentEnrolment = Annotated[EnrollmentToken, Depends(active_enrolment_token)]
