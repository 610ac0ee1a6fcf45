"""The admin's key: `X-Admin`, compared in constant time, with the admin's rate limit."""

from __future__ import annotations

import hmac
from typing import Final

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader

from nexmdm.http.credentials import refusal, single_header
from nexmdm.http.problems import ADMIN_REQUIRED
from nexmdm.http.runtime import database, runtime
from nexmdm.kernel import rate_limits

ADMIN: Final = "admin"  # there is one admin key (seed 001), so one subject and one `issued_by`


async def require_admin(request: Request) -> None:
    """The right X-Admin, once, compared in constant time."""
    expected: str = runtime(request).settings.admin_key.get_secret_value()
    given = single_header(request, "x-admin") or ""
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise await refusal(request, ADMIN_REQUIRED)


async def _limited_admin(request: Request) -> None:
    await require_admin(request)
    await rate_limits.hit(database(request), "admin", ADMIN, runtime(request).settings.limit_admin)


# The scheme only describes: the dependency beside it judges, and refuses what FastAPI's own would let pass.
_admin_scheme = APIKeyHeader(name="X-Admin", scheme_name="adminKey", auto_error=False)
DescribeAdmin = Depends(_admin_scheme)
# Of a router: dependencies of a router are judged before anything that a route asks for.
ADMIN_ONLY: Final = [Depends(_admin_scheme), Depends(_limited_admin)]
