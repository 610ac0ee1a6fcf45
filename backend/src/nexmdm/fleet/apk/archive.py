"""Whether a file is an APK: a ZIP archive with an AndroidManifest.xml. It decompresses nothing: no ZIP bomb goes off.

Only the central directory is read, and only up to a bound. zipfile would build an object for each of millions of
entries before it could be asked anything. The records are those of PKWARE's APPNOTE.TXT, section 4.3.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

MANIFEST: Final = b"AndroidManifest.xml"
DIRECTORY_LIMIT_BYTES: Final = 16 * 2**20  # 65,535 entries, more than Android takes, have 240 bytes each

_END: Final = struct.Struct("<4s4H2LH")
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_COMMENT_LIMIT_BYTES: Final = 2**16 - 1


def is_apk(file: BinaryIO) -> bool:
    """Read-only look at a seekable file; leaves its position anywhere."""
    directory = _central_directory(file)
    if directory is None:
        return False
    offset = _manifest_offset(directory)
    if offset is None:
        return False
    file.seek(offset)
    header = file.read(_LOCAL.size + len(MANIFEST))
    return header.startswith(b"PK\x03\x04") and header[_LOCAL.size :] == MANIFEST


def _central_directory(file: BinaryIO) -> bytes | None:
    """The central directory, where the file ends as a ZIP archive ends and its offsets count from the first byte."""
    size = file.seek(0, 2)
    tail_size = min(size, _END.size + _COMMENT_LIMIT_BYTES)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:  # the comment at the end may hold these four bytes too
        if len(tail) - at >= _END.size:
            _, _, _, _, _, length, offset, comment = _END.unpack_from(tail, at)
            end = size - tail_size + at
            if offset + length == end and end + _END.size + comment == size and length <= DIRECTORY_LIMIT_BYTES:
                file.seek(offset)
                return file.read(length)
        at = tail.rfind(b"PK\x05\x06", 0, at)
    return None


def _manifest_offset(directory: bytes) -> int | None:
    """Where the manifest's local header stands, or None: not there, or a broken directory."""
    at = 0
    while at + _ENTRY.size <= len(directory):
        entry = _ENTRY.unpack_from(directory, at)
        if entry[0] != b"PK\x01\x02":
            return None
        name_at = at + _ENTRY.size
        name_length, extra_length, comment_length = entry[10:13]
        if directory[name_at : name_at + name_length] == MANIFEST:
            offset: int = entry[16]
            return offset
        at = name_at + name_length + extra_length + comment_length
    return None
