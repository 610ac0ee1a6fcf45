"""How fast one worker takes an upload, against a bare route that takes the same bytes and makes them as durable."""

from __future__ import annotations

import base64
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.capacity import noop
from bench.rig import Rig, client, listed, median_ratio, refused
from harness.http.client import Client
from harness.http.raw_http import Sockets, request
from harness.platform.seeding import remove, seed
from harness.verdict.thresholds import Judgement, Limit

_MIB: Final = 2**20
_CHUNK: Final = b"x" * _MIB
_WITHIN_S: Final = 120.0
_UPLOADS: Final = "/api/v2/uploads"
_VERSION: Final = ("Tus-Resumable", "1.0.0")
TO_BARE: Final = Limit(
    "one worker's uploads / a bare route with an fsync every 8 MiB",
    "",
    ">=",
    0.5,
    source="one upload at a time, in one request; medians of interleaved pairs",
)


def sent(base_url: str, line: str, headers: Sequence[tuple[str, str]], mib: int, status: int) -> float:
    """MiB a second of one request with a body of so many. Refused for another answer than this status."""
    with Sockets(base_url).connect() as connection:
        connection.settimeout(_WITHIN_S)
        begun = time.monotonic()
        connection.sendall(request(line, *headers, length=mib * _MIB))
        for _ in range(mib):
            connection.sendall(_CHUNK)
        answer = connection.recv(65536)
        took_s = time.monotonic() - begun
    if not answer.startswith(b"HTTP/1.1 %d " % status):
        raise refused(line, int(answer[9:12] or 0), answer)
    return mib / took_s


def _begun(caller: Client, key: str, path: str, mib: int) -> str:
    """The URL of a new upload."""
    metadata = f"path {base64.b64encode(path.encode()).decode()}"
    headers = [_VERSION, ("Upload-Length", str(mib * _MIB)), ("Upload-Metadata", metadata)]
    answer = caller.bearer(key, "POST", _UPLOADS, headers=headers)
    if answer.status != 201:
        raise refused(f"POST {_UPLOADS}", answer.status, answer.body)
    return answer.headers["location"]


def uploads(rig: Rig) -> list[Judgement]:
    """The ratio, of pairs."""
    plan, url = rig.plan, rig.stack.target.database_url or ""
    mib, objects = (32 if plan.quick else 256), Path(rig.stack.env["NEXMDM_PLATFORM_STORAGE_URL"]) / "zones"
    label, key = secrets.token_hex(5), f"nxk_{secrets.token_urlsafe(32)}"
    taken, given = list[float](), list[float]()
    seed(url, label, [key])
    try:
        with rig.backend() as backend, noop(rig.stack.command) as (bare, _):
            caller = client(backend.base_url, rig.stack.env)
            chunk = ("Content-Type", "application/offset+octet-stream"), ("Upload-Offset", "0")
            headers = [_VERSION, *chunk, ("Authorization", f"Bearer {key}")]
            for number in range(plan.rounds + 1):
                line = f"PATCH {_begun(caller, key, f'/{number}', mib)}"
                taken.append(sent(backend.base_url, line, headers, mib, 204))
                shutil.rmtree(objects)  # the disk need not hold all rounds
                given.append(sent(bare, "POST /upload", [], mib, 200))
                rig.say(f"uploads {number}/{plan.rounds}: {taken[-1]:.0f}, bare route {given[-1]:.0f} MiB a second")
    finally:
        remove(url, label, 1)
    rig.facts["uploads: one worker, MiB per s"] = listed(taken[1:])  # the first is of new connections and plans
    rig.facts["uploads: bare route, MiB per s"] = listed(given[1:])
    return [TO_BARE.judge_value(median_ratio(taken[1:], given[1:]), plan.rounds)]
