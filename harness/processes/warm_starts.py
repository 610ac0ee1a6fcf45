"""Starts of a program without the seconds that its libraries take to import: each is a fork of a zygote.

The process is real: a child of this process in a session of its own, with its own environment and descriptors.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from harness.processes.child import Child
from harness.processes.starters import STARTERS, Start
from harness.settings import HarnessError

_SCRIPT: Final = Path(__file__).with_name("zygote.py")
_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h
_libc: Final = ctypes.CDLL(None, use_errno=True)


class ZygoteError(HarnessError):
    """A zygote has ended, so nothing can be started from it."""


class Forked:
    """A process that a zygote has forked: the part of Popen that Child needs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        with self._lock:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it is over: its process id may be another's by now."""
        if self.poll() is None:
            os.kill(self.pid, number)


class Zygote:
    """One zygote, ready for starts of one program. ZygoteError where it does not answer."""

    def __init__(
        self, python: str, names: Sequence[str], late: Sequence[str], env: Mapping[str, str], *, own: bool = False
    ) -> None:
        """names: of the program's own modules, which are left out unless `own`; late: libraries that these import when
        they run. python, env: of the program's environment.
        """
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            # -u: a backend's lines are in its log when they are written. -P: no folder of this script among the paths.
            command = [python, "-u", "-P", str(_SCRIPT), *(["--own"] if own else []), *names, "--", *late]
            self._child = Child(command, env=env, stdin=theirs.fileno())

    def start(self, start: Start) -> Forked:
        """Fork a process that runs argv: a Python script, or a Python with `-m` and a module."""
        asked = {
            "argv": start.argv,
            "env": dict(start.env),
            "cwd": str(start.cwd or Path.cwd()),
            "announce": start.announce,
        }
        with open(os.devnull, "r+b") as nothing, self._lock:  # noqa: PTH123 - for reading and writing
            streams = [
                number if stream is None else nothing if stream == subprocess.DEVNULL else stream
                for number, stream in enumerate(start.streams)
            ]
            descriptors = [stream if isinstance(stream, int) else stream.fileno() for stream in streams]
            # Whom the zygote orphans becomes our child; what a backend orphans must not, so only while it forks.
            _adopt_orphans(True)
            try:
                socket.send_fds(self._socket, [json.dumps(asked).encode()], descriptors)
                said = self._socket.recv(100)
            finally:
                _adopt_orphans(False)
        if not said:
            raise ZygoteError(f"the zygote of {start.argv[0]} has ended with exit code {self._child.reap()}")
        return Forked(int(said))

    def stop(self) -> None:
        """End it. What it has started lives on."""
        self._socket.close()
        self._child.stop(2.0, first=signal.SIGKILL)


def _adopt_orphans(on: bool) -> None:
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0):
        raise ZygoteError(f"prctl: {os.strerror(ctypes.get_errno())}")


def serve(zygotes: Mapping[Callable[[Sequence[str]], bool], Zygote]) -> None:
    """From now on, a child whose argv one of these wants is forked from its zygote."""

    def start(asked: Start) -> Forked | None:
        for wants, zygote in zygotes.items():
            if wants(asked.argv):
                return zygote.start(asked)
        return None

    STARTERS.append(start)
