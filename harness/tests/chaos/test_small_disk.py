"""A small disk is full when it is filled, has room again afterwards, and is gone with whoever mounted it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.chaos.small_disk import SmallDisk, SmallDiskError, mounted
from harness.processes.child import hearing_sigint
from harness.waiting import eventually

_HOLD = """
import sys
from harness.chaos.small_disk import mounted
with mounted(1024) as disk:
    print(disk.folder, flush=True)
    sys.stdin.read()
"""


def in_sight(folder: Path) -> bool:
    return str(folder.parent) in Path("/proc/self/mounts").read_text()


def test_it_fills_up_and_has_room_again() -> None:
    if os.geteuid() != 0:
        with pytest.raises(SmallDiskError):
            mounted(1024).__enter__()
        return
    with mounted(1024) as disk:
        (disk.folder / "file").write_bytes(b"before")
        disk.fill()
        with pytest.raises(OSError, match="No space left") as caught:
            (disk.folder / "more").write_bytes(b"x")
        assert caught.value.errno == errno.ENOSPC
        disk.relieve()
        (disk.folder / "more").write_bytes(b"x")
        assert (disk.folder / "file").read_bytes() == b"before"
        assert in_sight(disk.folder)
    assert not in_sight(disk.folder)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_it_goes_with_whoever_mounted_it(how: signal.Signals) -> None:
    pipe = subprocess.PIPE
    command = hearing_sigint([sys.executable, "-c", _HOLD])
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as holder:
        assert holder.stdout is not None
        said = holder.stdout.readline().strip()
        assert bool(said) is (os.geteuid() == 0)
        if said:
            assert in_sight(Path(said))
            holder.send_signal(how)
            holder.wait(20)
            eventually(lambda: not Path(said).exists() and not in_sight(Path(said)), 10.0)


def test_what_is_no_disk_is_not_filled(tmp_path: Path) -> None:
    """A folder that somebody took for a disk: what it lies on would be filled up instead."""
    with pytest.raises(SmallDiskError, match="no mounted disk"):
        SmallDisk(tmp_path)
