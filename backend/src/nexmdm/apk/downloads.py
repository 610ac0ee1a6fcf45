"""The latest build as devices fetch it: whole, in part, or not at all because they have it. It consumes no token.

Conditional requests after RFC 9110: If-None-Match (13.1.2), If-Range (13.1.5), then Range (14.2), one range at a time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlmodel import col

from nexmdm import auth, limits, metrics
from nexmdm.apk import storage
from nexmdm.apk.builds import DEFAULT_PACKAGE, MEDIA_TYPE, BuildType
from nexmdm.db import Operation, Session, database
from nexmdm.errors import Problem, answers
from nexmdm.logs import Event, emit
from nexmdm.pages import refuse_repeated_parameters
from nexmdm.shapes import PackageName
from nexmdm.tables import ApkDownloadEvent, ApkVersion
from nexmdm.tables.columns import IpAddress

_ETAG: Final = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_RANGE: Final = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.IGNORECASE)
_REFUSALS: Final = (
    "token_missing",
    "admin_required",
    "no_build",
    "validation_error",
    "rate_limited",
    "dependency_unavailable",
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who downloads: an enrolment token, or an admin where `token_id` is None. `ip` is null where there is none."""

    token_id: UUID | None
    ip: IpAddress | None

    def source(self, claimed: str) -> str:
        """What is recorded. An admin's word counts, a token's does not."""
        return claimed if self.token_id is None else "enrollment"


async def _caller(request: Request) -> Caller:
    """Judge the credential, X-Admin first where there is one; then the burst limits."""
    settings, db = request.app.state.settings, database(request)
    host = auth.client_ip(request)
    token_id: UUID | None = None
    if "x-admin" in request.headers:
        await auth.require_admin(request)
        await limits.hit(db, "admin", auth.ADMIN, settings.limit_admin)
    else:
        token_id = (await auth.active_enrolment_token(request)).token_id
        await limits.hit(db, "apk_token", str(token_id), settings.limit_apk_token)
    await limits.hit(db, "apk_ip", host or "unknown", settings.limit_apk_ip)
    try:
        return Caller(token_id, ip_address((host or "").partition("%")[0]))
    except ValueError:  # a client on a unix socket has no address
        return Caller(token_id, None)


async def latest_build(session: Session, package_name: str, build_type: str) -> ApkVersion:
    """The build with the highest version code."""
    query = select(ApkVersion).where(
        col(ApkVersion.package_name) == package_name, col(ApkVersion.build_type) == build_type
    )
    build = (await session.execute(query.order_by(col(ApkVersion.version_code).desc()).limit(1))).scalar()
    if build is None:
        raise Problem("no_build")
    return build


def is_known(etag: str, if_none_match: str | None) -> bool:
    """True where the caller has this version, so that a 304 will do. Compared weakly, as a GET is."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag.strip('"') in _ETAG.findall(if_none_match)


def wanted_range(value: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last, or None for the whole file: no range, or one that we may ignore.

    Raises:
        Problem: `range_not_satisfiable` where it begins behind the end.
    """
    match = _RANGE.fullmatch(value.strip()) if value is not None else None
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
        raise Problem("range_not_satisfiable", headers={"Content-Range": f"bytes */{size}"})
    return start, end


def chosen_range(build: ApkVersion, wanted: str | None, if_range: str | None) -> tuple[int, int] | None:
    """The range to serve. If-Range names a version: any other than this one gets the whole file."""
    if if_range is not None and if_range.strip() != etag_of(build):
        return None
    return wanted_range(wanted, build.size_bytes)


async def record_download(session: Session, build: ApkVersion, caller: Caller, source: str) -> None:
    """Keep who fetched what; committed before the first byte leaves."""
    admin = auth.ADMIN if caller.token_id is None else None
    event = ApkDownloadEvent(
        build_id=build.build_id, source=source, token_id=caller.token_id, admin_user=admin, ip=caller.ip
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
    emit(Event.APK_DOWNLOAD, build_id=build.build_id, build_type=build.build_type, source=source, status=status)
    headers = _headers(build) | {"Content-Length": str(end - start)}
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{build.size_bytes}"
    return StreamingResponse(content, status, headers, MEDIA_TYPE)


def etag_of(build: ApkVersion) -> str:
    """A strong validator: equal bytes, equal tag."""
    return f'"{build.sha256}"'


def _headers(build: ApkVersion) -> dict[str, str]:
    return {"ETag": etag_of(build), "Accept-Ranges": "bytes", "Cache-Control": "private, no-cache"}


class Wanted:
    """Which build the caller asks for, and the version that it has."""

    def __init__(
        self,
        package_name: Annotated[PackageName, Query()] = DEFAULT_PACKAGE,
        build_type: BuildType = "release",
        source: Literal["manual", "ci"] = "manual",
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> None:
        self.package_name, self.build_type, self.source = package_name, build_type, source
        self.if_none_match = if_none_match

    async def find(self, session: Session) -> tuple[ApkVersion, Response | None]:
        """The build; with it the 304 that will do where the caller has it."""
        build = await latest_build(session, self.package_name, self.build_type)
        known = is_known(etag_of(build), self.if_none_match)
        return build, Response(status_code=304, headers=_headers(build)) if known else None


router = APIRouter(
    tags=["apk"],
    dependencies=[
        auth.DescribeEnrolment,
        auth.DescribeAdmin,
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
        **answers(*_REFUSALS, "range_not_satisfiable"),
    },
)
async def download(
    request: Request,
    caller: Annotated[Caller, Depends(_caller)],
    wanted: Annotated[Wanted, Depends()],
    session: Session,
    range_: Annotated[str | None, Header(alias="Range")] = None,
    if_range: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Download the latest build."""
    build, not_modified = await wanted.find(session)
    if not_modified is not None:
        return not_modified
    part = chosen_range(build, range_, if_range)
    url = request.app.state.settings.storage_url
    return await serve(session, url, build, caller, caller.source(wanted.source), part)


@router.head(
    "/v1/apk/download-latest",
    operation_id="headLatestApk",
    response_class=Response,
    responses={304: {"description": "The caller has it"}, **answers(*_REFUSALS)},
)
async def look(wanted: Annotated[Wanted, Depends()], session: Session) -> Response:
    """Look at the latest build without its bytes."""
    build, not_modified = await wanted.find(session)
    if not_modified is not None:
        return not_modified
    headers = _headers(build) | {"Content-Length": str(build.size_bytes)}
    return Response(headers=headers, media_type=MEDIA_TYPE)
