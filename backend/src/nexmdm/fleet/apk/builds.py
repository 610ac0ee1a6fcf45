"""Builds as the admin and CI see them: uploaded with their metadata, listed. Nothing is ever changed or deleted."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, BeforeValidator, Field, StringConstraints
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col

from nexmdm.fleet.apk import storage
from nexmdm.fleet.apk.archive import is_apk
from nexmdm.fleet.events import APK_UPLOAD
from nexmdm.fleet.problems import BUILD_EXISTS, CHECKSUM_MISMATCH, NOT_AN_APK
from nexmdm.fleet.state import fleet
from nexmdm.fleet.tables.builds import ApkVersion
from nexmdm.fleet.types import PackageName
from nexmdm.http.admin_auth import ADMIN_ONLY
from nexmdm.http.json_body import require_media_type
from nexmdm.http.pagination import Page, Paging, refuse_repeated_parameters
from nexmdm.http.problems import OF_AN_ADMIN, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE
from nexmdm.http.runtime import Session
from nexmdm.http.types import Version
from nexmdm.kernel.database import Operation
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import VALIDATION_ERROR, Problem, ProblemType, answers

router = APIRouter(tags=["apk"], dependencies=ADMIN_ONLY)

MEDIA_TYPE: Final = "application/vnd.android.package-archive"
_UPLOADED_AS: Final = "application/octet-stream"  # is documented: generators of clients do not know the other
DEFAULT_PACKAGE: Final = "com.example.app"
_MAX_BUILD_ID: Final = 2**63 - 1

BuildType = Literal["debug", "release"]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def _digits(value: object) -> object:
    # pydantic would also take "1_000" and "7.0" for an integer, which no schema of a query parameter allows.
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise ValueError("Input should be a valid integer")
    return value


class BuildMetadata(BaseModel):
    """What an upload says about its bytes, in the query."""

    package_name: PackageName = DEFAULT_PACKAGE
    version_code: Annotated[int, Field(ge=1, le=2_100_000_000), BeforeValidator(_digits)]
    version_name: Version
    build_type: BuildType = "release"
    notes: Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=2000)] | None = None
    ci_run_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    git_sha: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,40}$")] | None = None
    signer_fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f:]{8,128}$")] | None = None
    sha256: Sha256 | None = None


class BuildView(BaseModel):
    """A stored build."""

    build_id: int
    package_name: str
    version_code: int
    version_name: str
    build_type: BuildType
    size_bytes: int
    sha256: str
    notes: str | None
    ci_run_id: str | None
    git_sha: str | None
    signer_fingerprint: str | None
    uploaded_at: datetime


async def store_build(session: Session, url: str, metadata: BuildMetadata, received: storage.Received) -> BuildView:
    """Check the bytes and keep them with their metadata.

    The row is inserted first, then the bytes are put, then the row is committed. So the unique constraint decides
    between racers before either has put anything: who loses leaves nothing behind, no row is seen without its bytes.
    Who loses waits for the winner to put; where that outlasts the statement timeout the answer is a 503, then the 409.

    Raises:
        Problem: `checksum_mismatch`, `not_an_apk`, `build_exists`.
    """
    if metadata.sha256 not in {None, received.sha256}:
        raise _refused(CHECKSUM_MISMATCH, "/query/sha256", "The body has another SHA-256.")
    if not await asyncio.to_thread(is_apk, received.file):
        raise _refused(NOT_AN_APK, "/body", "The body is not an APK.")
    values = metadata.model_dump(exclude={"sha256"}) | {
        "size_bytes": received.size_bytes,
        "sha256": received.sha256,
        "storage_url": storage.key_of(received.sha256),
    }
    keys = {name: values[name] for name in ("package_name", "version_code", "build_type")}
    insertion = insert(ApkVersion).values(**values).on_conflict_do_nothing(constraint="uq_apk_versions_build")
    with Operation("create", "apk_versions", **keys):
        row: ApkVersion | None = (await session.execute(insertion.returning(ApkVersion))).scalar()
        if row is None:
            raise Problem(BUILD_EXISTS)
        build = BuildView(**row.model_dump())
        await storage.keep(url, received)
        await session.commit()
    logged = build.model_dump(
        include={"build_id", "package_name", "version_code", "build_type", "size_bytes", "sha256"}
    )
    emit(APK_UPLOAD, **logged)
    return build


def _refused(kind: ProblemType, pointer: str, message: str) -> Problem:
    return Problem(kind, errors=[{"pointer": pointer, "code": kind.code, "message": message}])


@router.post(
    "/v1/apk/builds",
    operation_id="uploadApkBuild",
    status_code=201,
    dependencies=[Depends(refuse_repeated_parameters)],
    responses=answers(*OF_AN_ADMIN, BUILD_EXISTS, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, VALIDATION_ERROR),
    openapi_extra={
        "requestBody": {"required": True, "content": {_UPLOADED_AS: {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def upload(request: Request, metadata: Annotated[BuildMetadata, Query()], session: Session) -> BuildView:
    """Upload a build: the body is the APK itself."""
    settings = fleet(request).settings
    require_media_type(request, _UPLOADED_AS, MEDIA_TYPE)
    async with storage.receive(request, settings.apk_max_bytes) as received:
        return await store_build(session, settings.storage_url, metadata, received)


@router.get(
    "/v1/apk/builds",
    operation_id="listApkBuilds",
    responses=answers(*OF_AN_ADMIN, VALIDATION_ERROR),
)
async def list_builds(
    paging: Annotated[Paging, Depends()],
    session: Session,
    package_name: Annotated[PackageName | None, Query()] = None,
    build_type: BuildType | None = None,
) -> Page[BuildView]:
    """List builds, newest upload first."""
    query = select(ApkVersion)
    if package_name is not None:
        query = query.where(col(ApkVersion.package_name) == package_name)
    if build_type is not None:
        query = query.where(col(ApkVersion.build_type) == build_type)
    return await paging.read(
        session, query, col(ApkVersion.uploaded_at), col(ApkVersion.build_id), _view, _parse_build_id
    )


def _view(row: Any) -> BuildView:
    return BuildView(**row[0].model_dump())


def _parse_build_id(value: str) -> int:
    build_id = int(value)
    if not 0 < build_id <= _MAX_BUILD_ID:
        raise ValueError("not a build id")
    return build_id
