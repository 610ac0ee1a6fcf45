"""A disk of a few KiB or MiB that can be filled up and relieved, for servers that must survive that. Linux, root alone.

It is a tmpfs in the run's own folder, so the guard takes it away whatever happens to us. It knows nothing
of who keeps data on it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from harness.processes.child import CommandNotFoundError, bare_environment, run_to_end, workspace
from harness.settings import HarnessError

_WITHIN_S = 10.0
_BLOCK = 65536


class SmallDiskError(HarnessError):
    """No disk could be mounted: this user may not, or this system cannot."""


class SmallDisk:
    """A mounted disk. `folder`: an empty folder on it."""

    def __init__(self, root: Path) -> None:
        """Use `mounted`. SmallDiskError for a folder that is no disk: what it lies on would be filled up."""
        if not root.is_mount():
            raise SmallDiskError(f"{root}: no mounted disk")
        self.folder = root / "data"
        self.folder.mkdir(mode=0o700)
        self._ballast = root / "ballast"

    def fill(self) -> None:
        """Leave not one block free, now and until `relieve`."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (_BLOCK, os.statvfs(self.folder).f_bsize):
                try:
                    while file.write(b"\0" * size):
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def relieve(self) -> None:
        """End `fill`."""
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def mounted(size_kib: int) -> Iterator[SmallDisk]:
    """A disk of this size for the block; whoever uses it has to be gone at the end. Raises SmallDiskError."""
    root = workspace("disk")
    _run("mount", "-t", "tmpfs", "-o", f"size={size_kib}k,mode=0711", "nexmdm-small-disk", str(root))
    try:
        yield SmallDisk(root)
    finally:
        _run("umount", "--lazy", str(root))


def _run(*command: str) -> None:
    try:
        code, said = run_to_end(command, env=bare_environment({}), within_s=_WITHIN_S)
    except CommandNotFoundError as error:
        raise SmallDiskError(str(error)) from None
    if code:
        raise SmallDiskError(f"{command[0]}: {said.strip()[-300:]}")
