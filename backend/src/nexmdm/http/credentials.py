"""Credentials of a request: how they are read, and how a wrong one is refused.

Each refusal is counted, logged and, for an address that keeps failing, turned into 429. A good credential is accepted
whatever its address did before.
"""

from __future__ import annotations

from fastapi import Request

from nexmdm.http import metrics
from nexmdm.http.events import AUTH_FAIL
from nexmdm.http.failed_auth import RULE
from nexmdm.http.problems import TOKEN_INVALID, TOKEN_MISSING
from nexmdm.http.runtime import database, runtime
from nexmdm.kernel import rate_limits
from nexmdm.kernel.database import is_unavailable
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import Problem, ProblemType


def client_ip(request: Request) -> str | None:
    """The peer's address, as the proxy headers that uvicorn trusts have it."""
    return request.client.host if request.client else None


async def refusal(request: Request, kind: ProblemType) -> Problem:
    """The Problem for a failed authentication: counted, logged, and turned into 429 for a source that keeps failing."""
    ip = client_ip(request)
    metrics.auth_failures.labels(kind.code).inc()
    emit(AUTH_FAIL, "warning", code=kind.code, ip=ip)
    source = ip or "unknown"
    sources = runtime(request).blocked_addresses
    if (wait_s := sources.wait_s(source)) is not None:
        return rate_limits.refusal(RULE, wait_s)
    limit = runtime(request).settings.limit_auth_fail
    try:
        await rate_limits.hit(database(request), RULE, source, limit)
    except Problem as limited:
        sources.add(source, rate_limits.pause_s(limit))
        return limited
    except Exception as error:
        if not is_unavailable(error):
            raise
        # A refusal needs no database: the caller learns no less, and no more, during an outage.
    return Problem(kind)


def single_header(request: Request, header: str) -> str | None:
    """The value of a header that stands in the request exactly once."""
    values = request.headers.getlist(header)
    return values[0] if len(values) == 1 else None


def bearer_token(request: Request) -> str | None:
    """The one bearer token of the request (RFC 6750 section 2.1); None where its credentials are anything else."""
    scheme, _, rest = (single_header(request, "authorization") or "").partition(" ")
    token = rest.lstrip(" ")  # one space or more (RFC 9110, section 11.4)
    if scheme.lower() != "bearer" or not token:
        return None
    return token


async def bearer(request: Request) -> str:
    """The one bearer token of the request, which has to be there."""
    if "authorization" not in request.headers:
        raise await refusal(request, TOKEN_MISSING)
    token = bearer_token(request)
    if token is None:
        raise await refusal(request, TOKEN_INVALID)
    return token
