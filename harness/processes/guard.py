"""The guard: a tiny process beside the harness that ends its children and removes its folder, whatever happens.

It imports nothing but the standard library and never fails on purpose: it runs as a plain script
(`python -I -S guard.py`), outlives the harness by a moment, and needs no co-operation from a harness that was
killed with SIGKILL. The protocol is spoken by `child.py`:

- stdout, once: the path of the folder that the guard made. It holds the FIFO `announce` and all temporary files.
- the FIFO: every child writes "KIND PID" about itself before it becomes what it is, so no child is ever unknown.
- stdin: "gone PID" from the harness; "bye" when no start was interrupted; its end means that the harness is gone.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# PostgreSQL leaves its shared memory behind when it is killed; SIGQUIT is its immediate shutdown.
_FIRST_SIGNAL = {"postgres": signal.SIGQUIT, "group": signal.SIGKILL}
_GRACE_S = 3.0
_LINGER_S = 0.3


class Guard:
    """What is known about the harness's children."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        fifo = folder / "announce"
        os.mkfifo(fifo)
        fifo.chmod(0o622)
        # Read-write: the FIFO never reports its end, and a writer never waits for a reader.
        self.fifo = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        self.kinds: dict[int, str] = {}
        self.settled = False

    def watch(self) -> None:
        """Keep the books until the harness is gone."""
        pending = b""
        while True:
            readable, _, _ = select.select([0, self.fifo], [], [])
            # A child announces itself before it can end: reading the FIFO first keeps the two in order.
            self.read_announcements()
            if 0 not in readable:
                continue
            data = os.read(0, 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                if line == b"bye":
                    self.settled = True
                elif line.startswith(b"gone "):
                    self.kinds.pop(int(line[5:]), None)

    def read_announcements(self) -> None:
        """Take in what children wrote about themselves."""
        with contextlib.suppress(BlockingIOError):
            for line in os.read(self.fifo, 65536).decode().splitlines():
                kind, _, pid = line.partition(" ")
                if kind in _FIRST_SIGNAL and pid.isdecimal():
                    self.kinds[int(pid)] = kind

    def finish(self) -> None:
        """End every child, wait for it, remove the folder."""
        linger_until = time.monotonic() + (0 if self.settled else _LINGER_S)
        give_up = linger_until + 2 * _GRACE_S
        asked: dict[int, float] = {}
        while time.monotonic() < give_up:
            self.read_announcements()
            for pid, kind in list(self.kinds.items()):
                if pid not in asked:
                    asked[pid] = time.monotonic()
                    _end(pid, _FIRST_SIGNAL[kind])
                elif not _alive(pid):
                    del self.kinds[pid]
                elif time.monotonic() - asked[pid] > _GRACE_S:
                    _end(pid, signal.SIGKILL)
            if not self.kinds and time.monotonic() >= linger_until:
                break
            time.sleep(0.01)
        for place in _mounts_below(self.folder):
            subprocess.run(["umount", "--lazy", place], check=False, stdin=subprocess.DEVNULL, capture_output=True)
        # The folder vanishes in one step: a late child finds no FIFO and gives up.
        doomed = self.folder.with_name(self.folder.name + ".gone")
        with contextlib.suppress(OSError):
            self.folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _mounts_below(folder: Path) -> list[str]:
    """What chaos.small_disk has mounted, the innermost first."""
    with contextlib.suppress(OSError):
        places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        return sorted((place for place in places if place.startswith(f"{folder}/")), reverse=True)
    return []


def _alive(pid: int) -> bool:
    """Whether there is still something to wait for. A zombie is not: its parent may be waiting for us."""
    with contextlib.suppress(OSError):
        if Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z":
            return False
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _end(leader: int, number: signal.Signals) -> None:
    """Signal the group and whoever left it, and wake them: a stopped process sleeps through all but SIGKILL."""
    descendants = _descendants(leader)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)
        os.killpg(leader, signal.SIGCONT)
    for pid in descendants:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)


def _descendants(leader: int) -> list[int]:
    """Children and their children, where the system tells (Linux)."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [leader]
    for pid in found:
        found.extend(children.get(pid, []))
    return found[1:]


def main(parent_folder: str) -> None:
    """Guard whoever holds the other end of stdin."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    folder = Path(tempfile.mkdtemp(prefix="nexmdm-", dir=parent_folder))
    try:
        folder.chmod(0o711)
        guard = Guard(folder)
        with contextlib.suppress(BrokenPipeError):  # the harness may be gone already: stdin will say so
            os.write(1, f"{folder}\n".encode())
        guard.watch()
        guard.finish()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
