"""Who is calling: devices, enrolment tokens, the admin. It decides no noun's rule and writes no row but rate limits.

Device tokens are 256-bit random, so bcrypt guards only the stored hash. A good token is hashed once per process and
then known by its SHA-256 digest in a bounded cache. The cache spares bcrypt and never decides alone: it yields the
`token_version` under which the token was good, and every statement of a device route compares that with the row. So a
retired or re-enrolled device is refused on its very next request, by every worker and replica, with no message between.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Final, TypeVar
from uuid import UUID

import bcrypt
from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPBearer
from sqlalchemy import case, func
from sqlmodel import col, select

from nexmdm import limits, metrics
from nexmdm.db import Database, database, is_unavailable
from nexmdm.errors import Problem
from nexmdm.logs import Event, emit
from nexmdm.settings import Limit, Settings
from nexmdm.tables import Device, EnrollmentToken

V = TypeVar("V")

# By the database's clock, which all workers share. The order is that of the answer's precedence.
TOKEN_STATUS: Final = case(
    (col(EnrollmentToken.revoked_at).is_not(None), "revoked"),
    (col(EnrollmentToken.uses_consumed) >= col(EnrollmentToken.uses_allowed), "exhausted"),
    (col(EnrollmentToken.expires_at) <= func.now(), "expired"),
    else_="active",
).label("status")

_DEVICE_TOKEN: Final = re.compile(r"nxd_([0-9a-f]{32})_[A-Za-z0-9_-]{43}")
_ENROLMENT_TOKEN: Final = re.compile(r"nxe_[A-Za-z0-9_-]{43}")
_BCRYPT_THREADS: Final = 2  # leaves the other cores, and the queue in front of it, to everybody else


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """A device whose token was good under this version. Only the row says whether it still is."""

    device_id: UUID
    token_version: int
    token_digest: bytes


def device_token(device_id: UUID, secret: str) -> str:
    """`nxd_<32 hex of the device id>_<256 random bits>`: the row is found without a scan."""
    return f"nxd_{device_id.hex}_{secret}"


def mint_enrolment_token() -> tuple[str, str]:
    """A new enrolment token and the hash that is stored."""
    token = f"nxe_{secrets.token_urlsafe(32)}"
    return token, hash_enrolment_token(token)


def hash_enrolment_token(token: str) -> str:
    """SHA-256 suffices: the token has 256 random bits."""
    return sha256(token.encode()).hexdigest()


class DeviceTokens:
    """Checks and hashes device tokens off the event loop, with a bounded memory of the good and of the bad ones."""

    def __init__(self, settings: Settings) -> None:
        self._cost = settings.bcrypt_cost
        self._size = settings.token_cache_size
        self._good: OrderedDict[bytes, DeviceIdentity] = OrderedDict()
        # A wrong token never becomes a right one: the server mints them. So no entry ever needs to expire.
        self._bad: OrderedDict[bytes, None] = OrderedDict()
        self._checking: dict[bytes, asyncio.Task[DeviceIdentity | None]] = {}
        self._threads = ThreadPoolExecutor(_BCRYPT_THREADS, "bcrypt")

    def close(self) -> None:
        """End the threads; queued checks are dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, secret: str) -> str:
        """The bcrypt hash to store for the random part of a token. Takes 60 ms of a thread at cost 10."""
        work = asyncio.get_running_loop().run_in_executor
        return (await work(self._threads, bcrypt.hashpw, secret.encode(), bcrypt.gensalt(self._cost))).decode()

    def remember(self, token: str, device_id: UUID, token_version: int) -> None:
        """A token that this process minted need not be checked again."""
        digest = sha256(token.encode()).digest()
        _put(self._good, digest, DeviceIdentity(device_id, token_version, digest), self._size)

    def forget(self, identity: DeviceIdentity) -> None:
        """Its row says that the token is dead."""
        self._good.pop(identity.token_digest, None)

    def known(self, token: str) -> DeviceIdentity | None:
        """The device of a token that was found good before; without waiting."""
        digest = sha256(token.encode()).digest()
        identity = self._good.get(digest)
        if identity is not None:
            self._good.move_to_end(digest)
        return identity

    async def identify(self, token: str, db: Database) -> DeviceIdentity | None:
        """The device that the token belongs to, or None. Equal tokens that arrive together are checked once."""
        match = _DEVICE_TOKEN.fullmatch(token)
        if match is None:
            return None
        if known := self.known(token):
            return known
        digest = sha256(token.encode()).digest()
        if digest in self._bad:
            return None
        check = self._checking.get(digest)
        if check is None:
            check = asyncio.create_task(self._check(token, UUID(hex=match[1]), digest, db))
            self._checking[digest] = check
            check.add_done_callback(lambda _: self._checking.pop(digest, None))
        return await asyncio.shield(check)  # a caller that goes away must not fail the others

    async def _check(self, token: str, device_id: UUID, digest: bytes, db: Database) -> DeviceIdentity | None:
        query = select(Device.token_hash, Device.token_version).where(
            Device.device_id == device_id, col(Device.retired_at).is_(None)
        )
        async with db.sessions() as session:
            row = (await session.execute(query)).first()
        if row is None:
            return None
        work = asyncio.get_running_loop().run_in_executor
        if not await work(self._threads, bcrypt.checkpw, _secret(token).encode(), row.token_hash.encode()):
            _put(self._bad, digest, None, self._size)
            return None
        identity = DeviceIdentity(device_id, row.token_version, digest)
        _put(self._good, digest, identity, self._size)
        return identity


def _secret(token: str) -> str:
    # bcrypt reads 72 bytes and a token has 80: only its random end is hashed.
    return token[-43:]


def _put(cache: OrderedDict[bytes, V], key: bytes, value: V, size: int) -> None:
    cache[key] = value
    if len(cache) > size:
        cache.popitem(last=False)


def client_ip(request: Request) -> str | None:
    """The peer's address, as the proxy headers that uvicorn trusts have it."""
    return request.client.host if request.client else None


async def refusal(request: Request, code: str) -> Problem:
    """The Problem for a failed authentication: counted, logged, and turned into 429 for a source that keeps failing."""
    ip = client_ip(request)
    metrics.auth_failures.labels(code).inc()
    emit(Event.AUTH_FAIL, "warning", code=code, ip=ip)
    limit: Limit = request.app.state.settings.limit_auth_fail
    try:
        await limits.hit(database(request), "auth_fail", ip or "unknown", limit)
    except Problem as limited:
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
    scheme, _, token = (_single(request, "authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise await refusal(request, "token_invalid")
    return token


async def current_device(request: Request) -> DeviceIdentity:
    """The device whose token the request carries; only its row says whether the token is still good."""
    token = await bearer(request)
    tokens: DeviceTokens = request.app.state.device_tokens
    identity = await tokens.identify(token, database(request))
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
