"""The caller of a request: a key of role track or admin, and, for a track's request, the track.

The key comes first: without a good one nothing else of the request is judged. It may speak for every track; the header
is the student.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from nexmdm.http.access_log import ANSWER_HEADERS
from nexmdm.http.credentials import bearer, refusal
from nexmdm.http.problems import ADMIN_REQUIRED, OF_A_TOKEN, TOKEN_INVALID
from nexmdm.http.runtime import database, runtime, service_of
from nexmdm.kernel import keys, rate_limits
from nexmdm.kernel.log import origin
from nexmdm.kernel.problems import Problem, ProblemType
from nexmdm.sandboxes.problems import (
    IDEMPOTENCY_KEY_INVALID,
    TRACK_ID_INVALID,
    TRACK_ID_MISSING,
    TRACK_NAME_INVALID,
    TRACK_REQUIRED,
)
from nexmdm.sandboxes.state import broker

# For `answers`.
OF_A_POOL_ADMIN: Final = (*OF_A_TOKEN, ADMIN_REQUIRED)
OF_A_TRACK: Final = (*OF_A_TOKEN, TRACK_REQUIRED, TRACK_ID_MISSING, TRACK_ID_INVALID, TRACK_NAME_INVALID)
ADMIN: Final = "admin"
TRACK: Final = "track"
_PRINTABLE: Final = re.compile("[ -~]{1,255}")


@dataclass(frozen=True, slots=True)
class Track:
    """The student of a request, and the lab."""

    track_id: str
    track_name: str | None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Asking:
    """A track whose key is yet to be checked, by the statement that allocates."""

    track: Track
    key: str = field(repr=False)
    key_hash: str = field(repr=False)


def optional_header(request: Request, name: str, kind: ProblemType) -> str | None:
    """The value of a header; None where it is absent or blank.

    Raises:
        Problem: `kind`, where it stands there twice, is longer than 255 bytes or no printable ASCII.
    """
    values = request.headers.getlist(name)
    if len(values) > 1 or (values and values[0] and _PRINTABLE.fullmatch(values[0]) is None):
        raise Problem(kind, f"Send {name} once, as 1 to 255 characters of printable ASCII.")
    return values[0].strip(" ") or None if values else None


def _track_of(request: Request) -> Track:
    first = optional_header(request, "X-Instruqt-Sandbox-ID", TRACK_ID_INVALID)
    second = optional_header(request, "X-Track-ID", TRACK_ID_INVALID)  # judged in any case: it must not hide
    track_id = first or second
    if track_id is None:
        raise Problem(TRACK_ID_MISSING, "Send X-Track-ID or X-Instruqt-Sandbox-ID.")
    return Track(track_id, optional_header(request, "X-Instruqt-Track-ID", TRACK_NAME_INVALID))


async def check_key(request: Request, key: str, role: str, instead: ProblemType) -> str:
    """The name of a good key of this role.

    Raises:
        Problem: `token_invalid`, or `instead` where the key is good for the other role.
    """
    statements, service = broker(request).statements, service_of(request)
    name = await keys.verify(statements, key, role, service)
    if name is None:
        other = TRACK if role == ADMIN else ADMIN
        known = await keys.verify(statements, key, other, service)
        raise await refusal(request, TOKEN_INVALID if known is None else instead)
    return name


async def _count(request: Request, track: Track, *, key: str | None = None) -> None:
    """Count a hit of the track. `key`: is checked first where that costs a statement anyway."""
    limit = broker(request).track_limit
    alone = limit.alone(track.track_id)
    if not alone and key is not None:
        try:
            await check_key(request, key, TRACK, TRACK_REQUIRED)
        except Problem:
            limit.take_back(track.track_id)
            raise
    request.scope[ANSWER_HEADERS] = limit.headers(track.track_id)
    if not alone:
        await limit.shared(track.track_id)


async def asking_track(request: Request) -> Asking:
    """The track of a request for a sandbox. What has to be refused before that statement has its key checked here."""
    key = await bearer(request)
    key_hash = keys.hash_of(key)
    if key_hash is None:
        raise await refusal(request, TOKEN_INVALID)
    try:
        track = _track_of(request)
        idempotency_key = optional_header(request, "Idempotency-Key", IDEMPOTENCY_KEY_INVALID)
    except Problem:
        await check_key(request, key, TRACK, TRACK_REQUIRED)
        raise
    await _count(request, track, key=key)
    return Asking(replace(track, idempotency_key=idempotency_key), key, key_hash)


async def refused_after_all(request: Request, asking: Asking) -> None:
    """Refuse what the statement that allocates has refused.

    Raises:
        Problem: always, unless the key has become good since.
    """
    broker(request).track_limit.take_back(asking.track.track_id)
    request.scope.pop(ANSWER_HEADERS, None)
    await check_key(request, asking.key, TRACK, TRACK_REQUIRED)


async def current_track(request: Request) -> Track:
    """The track of a request, within its rate limit."""
    await check_key(request, await bearer(request), TRACK, TRACK_REQUIRED)
    track = _track_of(request)
    await _count(request, track)
    return track


async def require_admin(request: Request) -> str:
    """The subject of the admin, `key:<name>`, within its rate limit."""
    subject = "key:" + await check_key(request, await bearer(request), ADMIN, ADMIN_REQUIRED)
    origin.get().subject = subject
    await rate_limits.hit(database(request), "admin", subject, runtime(request).settings.limit_admin)
    return subject


def _header(name: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": {"type": "string", "pattern": "^[ -~]{0,255}$"}}


TRACK_HEADERS: Final = [_header(name) for name in ("X-Track-ID", "X-Instruqt-Sandbox-ID", "X-Instruqt-Track-ID")]
# A preference that is malformed is ignored, not refused (RFC 7240, section 2).
_PREFER: Final = {"name": "Prefer", "in": "header", "schema": {"type": "string"}}
ALLOCATE_HEADERS: Final = [*TRACK_HEADERS, _header("Idempotency-Key"), _PREFER]

# The schemes only describe: the dependencies beside them judge, and refuse what FastAPI's own would let pass.
TRACKS_ONLY: Final = [Depends(HTTPBearer(scheme_name="trackKey", auto_error=False))]
ADMIN_ONLY: Final = [Depends(HTTPBearer(scheme_name="apiKey", auto_error=False)), Depends(require_admin)]

CurrentTrack = Annotated[Track, Depends(current_track)]
