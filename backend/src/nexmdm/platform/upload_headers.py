"""The headers of resumable uploads: tus 1.0.0 with creation, checksum and expiration."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Any, Final

from fastapi import Request

from nexmdm.kernel.problems import Problem, invalid
from nexmdm.platform import paths
from nexmdm.platform.problems import CHECKSUM_UNSUPPORTED, TUS_VERSION_UNSUPPORTED, UPLOAD_METADATA_INVALID
from nexmdm.platform.rpc_errors import RpcError

VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,creation-with-upload,creation-defer-length,termination,checksum,expiration"
CHUNK: Final = "application/offset+octet-stream"
ALGORITHMS: Final[Mapping[str, Callable[[], Any]]] = {"sha1": hashlib.sha1, "sha256": hashlib.sha256}
RESUMABLE: Final = {"Tus-Resumable": VERSION}
MOST: Final = 2**63 - 1
MOST_METADATA: Final = 8192
CHECKSUM: Final = "(sha1 [A-Za-z0-9+/]{27}=|sha256 [A-Za-z0-9+/]{43}=)"
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_KEY: Final = re.compile(r"[!-+\--~]{1,128}")  # printable ASCII without space and comma


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a chunk has to digest to."""

    algorithm: str
    digest: bytes


def require_version(request: Request) -> None:
    """Problem: `tus_version_unsupported`, with the version that is spoken."""
    if request.headers.getlist("tus-resumable") != [VERSION]:
        raise Problem(TUS_VERSION_UNSUPPORTED, headers={"Tus-Version": VERSION})


def number(request: Request, name: str) -> int | None:
    """A header that is a number of bytes; None where it is absent. Problem: 422."""
    values = request.headers.getlist(name)
    if not values:
        return None
    if len(values) > 1 or _NUMBER.fullmatch(values[0]) is None or int(values[0]) > MOST:
        raise invalid(f"/header/{name}", "number", "Not a number of bytes, once.")
    return int(values[0])


def length(request: Request) -> int | None:
    """The length of a new upload; None where it is deferred. Problem: 422."""
    declared, deferred = number(request, "upload-length"), request.headers.getlist("upload-defer-length")
    if deferred not in ([], ["1"]) or (declared is None) != bool(deferred):
        raise invalid("/header/upload-length", "missing", "Send Upload-Length, or Upload-Defer-Length: 1.")
    return declared


def target(request: Request) -> tuple[str, str]:
    """The path that the finished file is to have, and the metadata to the letter. Problem: 400, 422."""
    values = request.headers.getlist("upload-metadata")
    metadata = values[0] if len(values) == 1 else ""
    given = _metadata(metadata) if len(values) < 2 and len(metadata) <= MOST_METADATA else None
    if given is None:
        raise Problem(
            UPLOAD_METADATA_INVALID, f"Send `key base64` pairs once, {MOST_METADATA} bytes, with commas between."
        )
    try:
        return paths.of_entry(given.get("path", b"").decode()), metadata
    except (RpcError, UnicodeDecodeError):
        raise invalid("/header/upload-metadata", "path", "Give the path of a file as `path`, in base64.") from None


def _metadata(text: str) -> dict[str, bytes] | None:
    """The pairs; None where they are malformed, or a key stands twice."""
    found: dict[str, bytes] = {}
    for pair in text.split(",") if text.strip(" ") else ():
        key, _, value = pair.strip(" ").partition(" ")
        try:
            decoded = base64.b64decode(value, validate=True)
        except binascii.Error:
            return None
        if _KEY.fullmatch(key) is None or key in found:
            return None
        found[key] = decoded
    return found


def checksum(request: Request) -> Checksum | None:
    """What the chunk has to digest to; None where nothing is said. Problem: `checksum_unsupported`."""
    values = request.headers.getlist("upload-checksum")
    if not values:
        return None
    if len(values) > 1 or re.fullmatch(CHECKSUM, values[0]) is None:
        raise Problem(CHECKSUM_UNSUPPORTED, f"Send one of {', '.join(ALGORITHMS)} and the digest in base64, once.")
    algorithm, _, encoded = values[0].partition(" ")
    return Checksum(algorithm, base64.b64decode(encoded))


def expires(moment: datetime) -> str:
    """As HTTP writes it (RFC 9110, section 5.6.7)."""
    return format_datetime(moment, usegmt=True)
