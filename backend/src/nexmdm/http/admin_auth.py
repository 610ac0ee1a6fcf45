"""Who administers: `X-Admin` with the key of the environment, or a bearer with an API key of role admin."""

from __future__ import annotations

import hmac
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPBearer

from nexmdm.http.credentials import bearer_token, refusal, single_header
from nexmdm.http.problems import ADMIN_REQUIRED
from nexmdm.http.runtime import database, runtime, service_of
from nexmdm.kernel import keys, rate_limits
from nexmdm.kernel.log import origin

ROLE: Final = "admin"
_ENVIRONMENT: Final = "admin"  # there is one key in the environment (seed 001), so its bearers are one subject


async def require_admin(request: Request) -> str:
    """The subject of the admin: `admin`, or `key:<name>`. Every line of the request is logged with it.

    One header decides, X-Admin or Authorization; two would leave open who asks.
    """
    if "authorization" not in request.headers:
        subject = _ENVIRONMENT if _has_the_key(request) else None
    elif "x-admin" not in request.headers:
        name = await keys.verify(database(request), bearer_token(request) or "", ROLE, service_of(request))
        subject = f"key:{name}" if name is not None else None
    else:
        subject = None
    if subject is None:
        raise await refusal(request, ADMIN_REQUIRED)
    origin.get().subject = subject
    return subject


def _has_the_key(request: Request) -> bool:
    """The right X-Admin, once, compared in constant time."""
    expected: str = runtime(request).settings.admin_key.get_secret_value()
    given = single_header(request, "x-admin") or ""
    return hmac.compare_digest(given.encode(), expected.encode())


async def limited_admin(request: Request) -> str:
    """As `require_admin`, within the rate limit of that admin."""
    subject = await require_admin(request)
    await rate_limits.hit(database(request), "admin", subject, runtime(request).settings.limit_admin)
    return subject


Admin = Annotated[str, Depends(limited_admin)]
# The schemes only describe: the dependency beside them judges, and refuses what FastAPI's own would let pass.
DESCRIBED: Final = [
    Depends(APIKeyHeader(name="X-Admin", scheme_name="adminKey", auto_error=False)),
    Depends(HTTPBearer(scheme_name="apiKey", auto_error=False)),
]
# Of a router: dependencies of a router are judged before anything that a route asks for.
ADMIN_ONLY: Final = [*DESCRIBED, Depends(limited_admin)]
