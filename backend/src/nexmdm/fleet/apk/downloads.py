"""The latest build as devices fetch it: whole, in part, or not at all because they have it. It consumes no token.

`conditional` evaluates the preconditions; the Range (RFC 9110, 14.2) comes after them, one range at a time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlmodel import col

from nexmdm.fleet import auth, metrics
from nexmdm.fleet.apk import storage
from nexmdm.fleet.apk.builds import DEFAULT_PACKAGE, MEDIA_TYPE, BuildType
from nexmdm.fleet.events import APK_DOWNLOAD
from nexmdm.fleet.problems import NO_BUILD, RANGE_NOT_SATISFIABLE
from nexmdm.fleet.state import fleet
from nexmdm.fleet.tables.builds import ApkDownloadEvent, ApkVersion
from nexmdm.fleet.types import PackageName
from nexmdm.http import admin_auth, conditional, credentials
from nexmdm.http.conditional import Validators
from nexmdm.http.pagination import refuse_repeated_parameters
from nexmdm.http.problems import ADMIN_REQUIRED, PRECONDITION_FAILED, TOKEN_MISSING
from nexmdm.http.runtime import Session, database
from nexmdm.kernel import keys, rate_limits
from nexmdm.kernel.columns import IpAddress
from nexmdm.kernel.database import Operation
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import DEPENDENCY_UNAVAILABLE, RATE_LIMITED, VALIDATION_ERROR, Problem, answers

_RANGE: Final = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.IGNORECASE)
_REFUSALS: Final = (
    TOKEN_MISSING,
    ADMIN_REQUIRED,
    NO_BUILD,
    PRECONDITION_FAILED,
    VALIDATION_ERROR,
    RATE_LIMITED,
    DEPENDENCY_UNAVAILABLE,
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who downloads: an enrolment token, or an admin. `ip` is None where there is none."""

    token_id: UUID | None
    admin: str | None
    ip: IpAddress | None

    def source(self, claimed: str) -> str:
        """What is recorded. An admin's word counts, a token's does not."""
        return claimed if self.token_id is None else "enrollment"


async def _caller(request: Request) -> Caller:
    """Judge the credential, that of an admin where there is X-Admin or an API key; then the burst limits."""
    settings, db = fleet(request).settings, database(request)
    host = credentials.client_ip(request)
    token_id: UUID | None = None
    admin: str | None = None
    if "x-admin" in request.headers or (credentials.bearer_token(request) or "").startswith(keys.PREFIX):
        admin = await admin_auth.limited_admin(request)
    else:
        token_id = (await auth.active_enrolment_token(request)).token_id
        await rate_limits.hit(db, "apk_token", str(token_id), settings.limit_apk_token)
    await rate_limits.hit(db, "apk_ip", host or "unknown", settings.limit_apk_ip)
    try:
        return Caller(token_id, admin, ip_address((host or "").partition("%")[0]))
    except ValueError:  # a client on a unix socket has no address
        return Caller(token_id, admin, None)


async def latest_build(session: Session, package_name: str, build_type: str) -> ApkVersion:
    """The build with the highest version code."""
    query = select(ApkVersion).where(
        col(ApkVersion.package_name) == package_name, col(ApkVersion.build_type) == build_type
    )
    build = (await session.execute(query.order_by(col(ApkVersion.version_code).desc()).limit(1))).scalar()
    if build is None:
        raise Problem(NO_BUILD)
    return build


def wanted_range(value: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last, or None for the whole file: no range, or one that we may ignore.

    Raises:
        Problem: `range_not_satisfiable` where it begins behind the end.
    """
    match = _RANGE.fullmatch(value) if value is not None else None
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None  # no range at all, by the grammar
    if start >= size:
        raise Problem(RANGE_NOT_SATISFIABLE, headers={"Content-Range": f"bytes */{size}"})
    return start, end


async def record_download(session: Session, build: ApkVersion, caller: Caller, source: str) -> None:
    """Keep who fetched what; committed before the first byte leaves."""
    event = ApkDownloadEvent(
        build_id=build.build_id, source=source, token_id=caller.token_id, admin_user=caller.admin, ip=caller.ip
    )
    session.add(event)
    with Operation("create", "apk_download_events", build_id=build.build_id):
        await session.commit()


async def serve(
    session: Session, url: str, build: ApkVersion, caller: Caller, source: str, part: tuple[int, int] | None
) -> Response:
    """Open the bytes, record the download, answer."""
    start, end = part or (0, build.size_bytes)
    status = 200 if part is None else 206
    content = await storage.open_range(url, build.storage_url, start, end)
    await record_download(session, build, caller, source)
    metrics.apk_downloads.labels(build.build_type, source).inc()
    emit(APK_DOWNLOAD, build_id=build.build_id, build_type=build.build_type, source=source, status=status)
    headers = _headers(build) | {"Content-Length": str(end - start)}
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{build.size_bytes}"
    return StreamingResponse(content, status, headers, MEDIA_TYPE)


def validators_of(build: ApkVersion) -> Validators:
    """Equal bytes, equal tag. A build becomes the latest when it is uploaded."""
    return Validators(f'"{build.sha256}"', build.uploaded_at)


def _cached(build: ApkVersion) -> dict[str, str]:
    """All that a 304 says (RFC 9110, 15.4.5)."""
    return {"ETag": validators_of(build).etag, "Cache-Control": "private, no-cache"}


def _headers(build: ApkVersion) -> dict[str, str]:
    return _cached(build) | {"Last-Modified": validators_of(build).last_modified, "Accept-Ranges": "bytes"}


class Wanted:
    """Which build the caller asks for."""

    def __init__(
        self,
        package_name: Annotated[PackageName, Query()] = DEFAULT_PACKAGE,
        build_type: BuildType = "release",
        source: Literal["manual", "ci"] = "manual",
    ) -> None:
        self.package_name, self.build_type, self.source = package_name, build_type, source

    async def find(self, request: Request, session: Session) -> tuple[ApkVersion, Response | None]:
        """The build, once the request's conditions hold; with it the 304 that will do where the caller has it.

        Raises:
            Problem: `no_build`, `precondition_failed`.
        """
        build = await latest_build(session, self.package_name, self.build_type)
        known = validators_of(build).is_not_modified(request.headers)
        return build, Response(status_code=304, headers=_cached(build)) if known else None


router = APIRouter(
    tags=["apk"],
    dependencies=[
        auth.DescribeEnrolment,
        *admin_auth.DESCRIBED,
        Depends(_caller),
        Depends(refuse_repeated_parameters),
    ],
)


@router.get(
    "/v1/apk/download-latest",
    operation_id="downloadLatestApk",
    response_class=Response,
    responses={
        206: {"description": "A part of the build"},
        304: {"description": "The caller has it"},
        **answers(*_REFUSALS, RANGE_NOT_SATISFIABLE),
    },
    openapi_extra=conditional.described(),
)
async def download(
    request: Request,
    caller: Annotated[Caller, Depends(_caller)],
    wanted: Annotated[Wanted, Depends()],
    session: Session,
) -> Response:
    """Download the latest build."""
    build, not_modified = await wanted.find(request, session)
    if not_modified is not None:
        return not_modified
    in_part = validators_of(build).allow_range(request.headers)
    part = wanted_range(conditional.field(request.headers, "range"), build.size_bytes) if in_part else None
    url = fleet(request).settings.storage_url
    return await serve(session, url, build, caller, caller.source(wanted.source), part)


@router.head(
    "/v1/apk/download-latest",
    operation_id="headLatestApk",
    response_class=Response,
    responses={304: {"description": "The caller has it"}, **answers(*_REFUSALS)},
    openapi_extra=conditional.described(head=True),
)
async def head_latest(request: Request, wanted: Annotated[Wanted, Depends()], session: Session) -> Response:
    """Look at the latest build without its bytes; nothing is recorded."""
    build, not_modified = await wanted.find(request, session)
    if not_modified is not None:
        return not_modified
    headers = _headers(build) | {"Content-Length": str(build.size_bytes)}
    return Response(headers=headers, media_type=MEDIA_TYPE)
