"""Where a suite of many short databases puts them: into memory, where there is room for them.

A database is some 700 files, and a suite makes and drops a thousand databases. A file system that does not hand out an
inode again soon after its file is gone (ext4 without a journal looks at each of them in turn) makes that quadratic:
the backend's tests took 174 s on such a disk, and 88 s in memory. What measures latencies stays on the disk.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - only as the parent of a folder with a random name
NEEDED_BYTES: Final = 6 * 2**30
"""The slow cases upload 2 GiB, and their store holds it twice for a moment."""


@contextlib.contextmanager
def in_memory(environ: Mapping[str, str], memory: Path = MEMORY) -> Iterator[dict[str, str]]:
    """TMPDIR, a folder in memory that is gone afterwards; nothing where TMPDIR is given, or room is short."""
    if environ.get("TMPDIR") or not memory.is_dir() or min(shutil.disk_usage(memory).free, _available()) < NEEDED_BYTES:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="nexmdm-", dir=memory, ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # PostgreSQL does not run as root, and has to pass through
        yield {"TMPDIR": folder}


def _available() -> int:
    """Bytes that programs could still take, as Linux reckons."""
    try:
        told = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", told, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
