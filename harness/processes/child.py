"""Child processes and temporary folders that cannot outlive the harness.

Every child runs in its own session and is known to the guard before it does anything, so Ctrl-C
at any moment, SIGTERM, an exception or even `kill -9` of the harness leaves no process and no folder behind.
It does not decide when a child should end: Backend, Postgres and FcmServer do.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from harness.processes import starters
from harness.processes.starters import Process, Start, Stream
from harness.settings import HarnessError
from harness.waiting import WaitTimeout, eventually

Kind = Literal["group", "postgres"]

# The child names itself to the guard and then becomes the command. Without a guard it gives up.
_SHIM = 'test -p "$1" && echo "$0 $$" > "$1" || exit 125; shift; exec "$@"'
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


class CommandNotFoundError(HarnessError):
    """There is no such command."""


class _Guard:
    """The guard process of this harness process, started with the first child."""

    def __init__(self) -> None:
        self.settled = True
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")), temp_root()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.lifeline = self.process.stdin.fileno()
        with self.process.stdout as said:
            self.folder = Path(said.readline().decode().rstrip("\n"))
        if not self.folder.is_absolute():
            raise RuntimeError("the guard process did not start")

    def tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self.lifeline, f"{line}\n".encode())

    def close(self) -> None:
        if self.settled:
            self.tell("bye")
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


_lock = threading.RLock()
_guard: _Guard | None = None


def _the_guard() -> _Guard:
    global _guard  # noqa: PLW0603 - one guard per process is the point
    with _lock:
        if _guard is None:
            _guard = _Guard()
            atexit.register(end_everything)
        return _guard


def _forget_after_fork() -> None:
    """A forked copy of the harness must neither keep the guard waiting nor end the original's children."""
    global _guard, _lock  # noqa: PLW0603 - the copy starts afresh
    _lock = threading.RLock()
    if _guard is not None:
        os.close(_guard.lifeline)
        atexit.unregister(end_everything)
        _guard = None


os.register_at_fork(after_in_child=_forget_after_fork)


def end_everything() -> None:
    """End whatever is left of this process's children and folders, and wait for it. Runs at exit by itself."""
    global _guard
    with _lock:
        guard, _guard = _guard, None
        if guard is not None:
            guard.close()


def temp_root() -> str:
    """The folder for temporary files: the usual one, or for root one that every user can pass through.

    PostgreSQL refuses to run as root, so its data must be reachable for another user; no folder is opened up for it.
    """
    usual = tempfile.gettempdir()
    if os.geteuid() != 0:
        return usual
    for candidate in (usual, "/tmp", "/var/tmp"):  # noqa: S108 - only as parents of mkdtemp
        folder = Path(candidate).resolve()
        if all(part.stat().st_mode & stat.S_IXOTH for part in (folder, *folder.parents)):
            return str(folder)
    return usual


def workspace(name: str) -> Path:
    """A fresh private folder that is gone when the harness is."""
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=_the_guard().folder))


def bare_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """What a child gets to see: a few harmless variables of ours, and `extra`. Never a stray NEXMDM_ setting."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | dict(extra)


def allow_descriptors(most: int = 65_536) -> None:
    """Let this process open as many files as the system allows, at most so many: a generator has a socket a device."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, most), hard))


def python_module(name: str) -> tuple[list[str], dict[str, str]]:
    """argv and environment that run a module of this project in a child, whatever the working directory is."""
    return [sys.executable, "-m", name], {"PYTHONPATH": str(Path(__file__).parents[2])}


def hearing_sigint(command: Sequence[str]) -> list[str]:
    """argv that runs the command with SIGINT as a terminal has it.

    The background jobs of a script ignore it, and their children inherit that.
    """
    restore = "signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-c", f"import os, signal, sys; {restore}", *command]


class Child:
    """A process in its own session that ends with the harness."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        kind: Kind = "group",
        user: int | None = None,
        cwd: Path | str | None = None,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.DEVNULL,
        stderr: Stream = None,
    ) -> None:
        """Start it. env: the whole environment; user: numeric id to become (root only). CommandNotFoundError."""
        found = shutil.which(argv[0], path=env.get("PATH"))
        if found is None:
            raise CommandNotFoundError(f"command not found: {argv[0]}")
        command = str(Path(found).absolute())
        with _lock:
            guard = _the_guard()
            guard.settled = False
            announce = str(guard.folder / "announce")
            start = Start([command, *argv[1:]], env, cwd, (stdin, stdout, stderr), announce)
            ways = starters.STARTERS if kind == "group" and user is None else []
            started = next(filter(None, (way(start) for way in ways)), None)
            self.process: Process = started or subprocess.Popen(
                ["/bin/sh", "-c", _SHIM, kind, announce, *start.argv],
                env=dict(env),
                cwd=cwd,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
            # Not reached when a signal handler raises in between: the guard then lingers for the late announcement.
            guard.settled = True

    @property
    def pid(self) -> int:
        """Process id, and the id of its session and process group."""
        return self.process.pid

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self.process.poll()

    def wait(self, within_s: float = math.inf) -> int:
        """The exit code. WaitTimeout when it takes longer."""
        # Not Popen.wait: it would not hear of harness.waiting.interrupt.
        eventually(lambda: self.poll() is not None, within_s, what="the end of the process")
        return int(self.process.returncode or 0)

    def send(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to the process, or to all of its group. Nothing happens when it is gone."""
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self.pid, number)
            else:
                self.process.send_signal(number)

    def stop(self, within_s: float, *, first: signal.Signals = signal.SIGTERM) -> int:
        """`first`, then SIGKILL after `within_s`; what is left of the group is killed too. Returns the exit code."""
        self.send(first)
        try:
            self.wait(within_s)
        except WaitTimeout:
            self.send(signal.SIGKILL)
        return self.reap()

    def reap(self) -> int:
        """Wait for the process, kill what is left of its group, and tell the guard that all is gone."""
        code = self.wait()
        self.send(signal.SIGKILL, group=True)
        _the_guard().tell(f"gone {self.pid}")
        return code


class ChildEndedError(HarnessError):
    """A child ended before it had said that it is there."""


def announced(child: Child, said: Path, within_s: float, *, what: str) -> str:
    """The line that a child writes when it is there; `said` is the file of its stdout.

    Raises ChildEndedError, whose message has the exit code, or WaitTimeout; what the child said last is the caller's.
    """

    def line() -> str | None:
        if child.poll() is not None:
            raise ChildEndedError(f"{what} ended with exit code {child.reap()}")
        text = said.read_text()
        return text if text.endswith("\n") else None

    return str(eventually(line, within_s, what=what))


def last_lines(file: Path) -> str:
    """The last twenty lines of what a child has written."""
    return "\n".join(file.read_text(errors="replace").splitlines()[-20:])


def run_to_end(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    within_s: float,
    user: int | None = None,
    cwd: Path | str | None = None,
) -> tuple[int, str]:
    """Run a command to its end: exit code, and stdout with stderr as text. TimeoutError when it takes too long."""
    with tempfile.TemporaryFile(dir=_the_guard().folder) as output:
        child = Child(argv, env=env, user=user, cwd=cwd, stdout=output, stderr=output)
        try:
            code = child.wait(within_s)
        except WaitTimeout:
            raise TimeoutError(f"{Path(argv[0]).name} did not end within {within_s:g} s") from None
        finally:
            child.stop(1.0)
        output.seek(0)
        return code, output.read().decode(errors="replace")
