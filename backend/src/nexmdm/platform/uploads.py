"""Resumable uploads: tus 1.0.0 (tus.io/protocols/resumable-upload). A finished one is a file of the zone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, Final

import asyncpg
from fastapi import APIRouter, Depends, Request, Response

from nexmdm.http.access_log import ANSWER_HEADERS
from nexmdm.http.pagination import check_parameters
from nexmdm.http.problems import PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE
from nexmdm.http.types import IdInPath, as_id
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import DEPENDENCY_UNAVAILABLE, OVERLOADED, VALIDATION_ERROR, Problem, answers, invalid
from nexmdm.platform import upload_headers, upload_rows
from nexmdm.platform.auth import DESCRIBED, OF_A_KEY, ZONE_HEADERS, Caller, InZone
from nexmdm.platform.call import Call
from nexmdm.platform.events import UPLOAD_CREATED, UPLOAD_TERMINATED
from nexmdm.platform.events import UPLOAD_FINISHED as FINISHED_EVENT
from nexmdm.platform.method_override import Overridable
from nexmdm.platform.object_store import StoreAwayError
from nexmdm.platform.problems import (
    BRICK_UNMOUNTED,
    CHECKSUM_MISMATCH,
    CHECKSUM_UNSUPPORTED,
    QUOTA_EXCEEDED,
    TUS_VERSION_UNSUPPORTED,
    UPLOAD_FINISHED,
    UPLOAD_METADATA_INVALID,
    UPLOAD_NOT_FOUND,
    UPLOAD_OFFSET_MISMATCH,
    UPLOAD_TARGET_BLOCKED,
    ZONE_TERMINATING,
)
from nexmdm.platform.state import platform
from nexmdm.platform.upload_body import Receiver
from nexmdm.platform.upload_headers import (
    CHUNK,
    EXTENSIONS,
    MOST_METADATA,
    RESUMABLE,
    VERSION,
    expires,
    number,
    require_version,
)
from nexmdm.platform.upload_rows import UploadMovedError
from nexmdm.platform.zone_row import BlockedPathError, QuotaExceededError, ZoneEndsError

BRICK: Final = "uploads"
PATH: Final = "/api/v2/uploads"
router = APIRouter(tags=["uploads"], dependencies=[DESCRIBED], route_class=Overridable)
in_zone: Final = InZone(brick=BRICK)

_OF_ANY: Final = (*OF_A_KEY, ZONE_TERMINATING, BRICK_UNMOUNTED, TUS_VERSION_UNSUPPORTED, VALIDATION_ERROR)
_OF_ONE: Final = (*_OF_ANY, UPLOAD_NOT_FOUND)
_OF_A_BODY: Final = (
    PAYLOAD_TOO_LARGE, QUOTA_EXCEEDED, UPLOAD_TARGET_BLOCKED, CHECKSUM_UNSUPPORTED, CHECKSUM_MISMATCH
)  # fmt: skip


def _header(name: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": schema, "required": required}


_BYTES: Final = {"type": "integer", "minimum": 0, "maximum": upload_headers.MOST}
_TUS: Final = [
    *ZONE_HEADERS,
    _header("Tus-Resumable", {"pattern": f"^{re.escape(VERSION)}$", "type": "string"}, required=True),
]
_CHECKSUM: Final = _header("Upload-Checksum", {"type": "string", "pattern": f"^{upload_headers.CHECKSUM}$"})
_BODY: Final[dict[str, Any]] = {"content": {CHUNK: {"schema": {"type": "string", "format": "binary"}}}}


async def _say_version(request: Request) -> None:
    """Every answer but that of OPTIONS says which version it is, also a refusal of the key."""
    request.scope[ANSWER_HEADERS] = RESUMABLE


async def _tus(
    request: Request, _version: Annotated[None, Depends(_say_version)], caller: Annotated[Caller, Depends(in_zone)]
) -> Caller:
    """The caller of a request that speaks our version."""
    require_version(request)
    check_parameters(request)
    return caller


Uploader = Annotated[Caller, Depends(_tus)]


@asynccontextmanager
async def _told() -> AsyncIterator[None]:
    """What refuses a change, as a problem."""
    try:
        yield
    except UploadMovedError:
        raise Problem(UPLOAD_OFFSET_MISMATCH) from None
    except ZoneEndsError:
        raise Problem(ZONE_TERMINATING) from None
    except QuotaExceededError as refused:
        raise Problem(QUOTA_EXCEEDED, extra={"limit": refused.limit}) from None
    except BlockedPathError:
        raise Problem(UPLOAD_TARGET_BLOCKED) from None
    except StoreAwayError:
        raise Problem(DEPENDENCY_UNAVAILABLE) from None


@router.options(
    PATH, status_code=204, operation_id="describeUploads", response_class=Response, responses=answers(OVERLOADED)
)
async def describe(request: Request) -> Response:
    """What of tus is spoken here; needs no credentials."""
    headers = {
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(platform(request).settings.platform_upload_bytes),
        "Tus-Checksum-Algorithm": ",".join(upload_headers.ALGORITHMS),
    }
    return Response(status_code=204, headers=headers)


@router.post(
    PATH,
    status_code=201,
    operation_id="createUpload",
    response_class=Response,
    responses=answers(*_OF_ANY, *_OF_A_BODY, UPLOAD_METADATA_INVALID),
    openapi_extra={
        "parameters": [
            *_TUS, _header("Upload-Length", _BYTES),
            _header("Upload-Defer-Length", {"pattern": "^1$", "type": "string"}),
            _header("Upload-Metadata", {"type": "string", "maxLength": MOST_METADATA}, required=True), _CHECKSUM,
        ],
        "requestBody": _BODY,
    },
)  # fmt: skip
async def create(request: Request, caller: Uploader) -> Response:
    """Begin an upload; a body is its first bytes."""
    settings = platform(request).settings
    length = upload_headers.length(request)
    if length is not None and length > settings.platform_upload_bytes:
        raise Problem(PAYLOAD_TOO_LARGE, f"An upload has at most {settings.platform_upload_bytes} bytes.")
    path, metadata = upload_headers.target(request)
    has_bytes = _is_chunk(request) and request.headers.get("content-length") != "0"
    checksum = upload_headers.checksum(request) if has_bytes else None
    async with _told(), Call(caller, platform(request)).changing() as tx:
        row = await upload_rows.create(
            tx, caller.zone_id, path, length, metadata, caller.agent_id, settings.platform_upload_expires_s
        )
    emit(UPLOAD_CREATED, zone_id=caller.zone_id, upload_id=str(row["upload_id"]), length=length)
    receiver = Receiver(platform(request), caller, row)
    if has_bytes or length == 0:
        try:
            receiver.check(request, None)
            async with _told():
                await receiver.take_over(0)
                if has_bytes:
                    await receiver.receive(request, checksum)
                else:
                    await receiver.nothing_more()
        except Exception:  # nobody is told where it is
            with suppress(ZoneEndsError):  # which removes it, too
                await receiver.give_up()
                emit(UPLOAD_TERMINATED, zone_id=caller.zone_id, upload_id=str(row["upload_id"]))
            raise
    row = receiver.row
    _tell_finished(caller, row)
    headers = {"Location": f"{PATH}/{row['upload_id']}", **_shown(row)}
    return Response(status_code=201, headers=headers)


def _is_chunk(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == CHUNK


def _tell_finished(caller: Caller, row: asyncpg.Record) -> None:
    if row["finished_at"] is not None:
        emit(FINISHED_EVENT, zone_id=caller.zone_id, upload_id=str(row["upload_id"]), size=row["length"])


def _shown(row: asyncpg.Record) -> dict[str, str]:
    return {"Upload-Offset": str(row["upload_offset"]), "Upload-Expires": expires(row["expires_at"])}


async def _found(request: Request, caller: Caller, upload_id: str) -> asyncpg.Record:
    row, wanted = None, as_id(upload_id)
    if wanted is not None:
        async with platform(request).within(caller.zone_id) as tx:
            row = await upload_rows.find(tx, caller.zone_id, wanted)
    if row is None:
        raise Problem(UPLOAD_NOT_FOUND)
    return row


@router.head(
    f"{PATH}/{{upload_id}}",
    operation_id="getUpload",
    response_class=Response,
    responses=answers(*_OF_ONE),
    openapi_extra={"parameters": _TUS},
)
async def look(request: Request, caller: Uploader, upload_id: IdInPath) -> Response:
    """How far an upload is."""
    row = await _found(request, caller, upload_id)
    length = {"Upload-Defer-Length": "1"} if row["length"] is None else {"Upload-Length": str(row["length"])}
    metadata = {"Upload-Metadata": row["metadata"]} if row["metadata"] else {}
    return Response(headers={**_shown(row), **length, **metadata, "Cache-Control": "no-store"})


@router.patch(
    f"{PATH}/{{upload_id}}",
    status_code=204,
    operation_id="appendToUpload",
    response_class=Response,
    responses=answers(*_OF_ONE, *_OF_A_BODY, UPLOAD_OFFSET_MISMATCH, UPLOAD_FINISHED, UNSUPPORTED_MEDIA_TYPE),
    openapi_extra={
        "parameters": [
            *_TUS, _header("Upload-Offset", _BYTES, required=True), _header("Upload-Length", _BYTES), _CHECKSUM
        ],
        "requestBody": {"required": True, **_BODY},
    },
)  # fmt: skip
async def append(request: Request, caller: Uploader, upload_id: IdInPath) -> Response:
    """Go on with an upload at its offset. The newest request has it; one before finds out and ends with 409."""
    row = await _found(request, caller, upload_id)
    if not _is_chunk(request):
        raise Problem(UNSUPPORTED_MEDIA_TYPE, f"Send {CHUNK}.")
    offset = number(request, "upload-offset")
    checksum = upload_headers.checksum(request)
    if offset is None:
        raise invalid("/header/upload-offset", "missing", "Send Upload-Offset.")
    if offset != row["upload_offset"]:
        raise Problem(UPLOAD_OFFSET_MISMATCH)
    if row["finished_at"] is not None:
        if request.headers.get("content-length") != "0":
            raise Problem(UPLOAD_FINISHED)
        return Response(status_code=204, headers=_shown(row))
    receiver, declared = Receiver(platform(request), caller, row), number(request, "upload-length")
    receiver.check(request, declared)
    async with _told():
        await receiver.take_over(offset)
        if declared is not None:
            await receiver.declare_length(declared)
        await receiver.receive(request, checksum)
    _tell_finished(caller, receiver.row)
    return Response(status_code=204, headers=_shown(receiver.row))


@router.delete(
    f"{PATH}/{{upload_id}}",
    status_code=204,
    operation_id="terminateUpload",
    response_class=Response,
    responses=answers(*_OF_ONE),
    openapi_extra={"parameters": _TUS},
)
async def terminate(request: Request, caller: Uploader, upload_id: IdInPath) -> Response:
    """Forget an upload. A file that it has become stays."""
    found = await _found(request, caller, upload_id)
    async with _told(), Call(caller, platform(request)).changing() as tx:
        row = await upload_rows.find(tx, caller.zone_id, found["upload_id"], lock=True)
        if row is None:
            raise Problem(UPLOAD_NOT_FOUND)
        await upload_rows.end(tx, caller.zone_id, row)
    emit(UPLOAD_TERMINATED, zone_id=caller.zone_id, upload_id=upload_id)
    return Response(status_code=204)
