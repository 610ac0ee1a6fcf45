"""One backend process: start, wait until it is ready, restart, kill, stop.

It knows nothing of databases or FCM: its environment names both.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

import psutil

from harness.oracles.log_tail import LogTap
from harness.processes.child import Child, bare_environment, run_to_end
from harness.settings import SECRETS, HarnessError
from harness.waiting import WaitTimeout, eventually

_SHOWN_LINES = 20
READY_WITHIN_S: Final = 60.0  # patience with a busy machine: how long a start takes is measured elsewhere


class BackendError(HarnessError):
    """The backend died or was not ready in time. The message ends with its last log lines, secrets masked."""


def migrate(command: str, database_url: str, within_s: float = 60.0) -> None:
    """Bring a database to the newest migration with the backend's own command. BackendError when that fails."""
    _as_owner(command, ["migrate"], database_url, within_s)


def grant(command: str, database_url: str, role: str, within_s: float = 60.0) -> None:
    """Give a role the rights of the service with the backend's own command. BackendError when that fails."""
    _as_owner(command, ["grant", role], database_url, within_s)


def _as_owner(command: str, arguments: Sequence[str], database_url: str, within_s: float) -> None:
    settings = {
        "NEXMDM_DATABASE_URL": database_url,
        "NEXMDM_ADMIN_KEY": secrets.token_urlsafe(24),
        "NEXMDM_HMAC_SECRET": secrets.token_urlsafe(24),
    }
    code, said = run_to_end([command, *arguments], env=bare_environment(settings), within_s=within_s)
    if code:
        tail = SECRETS.mask("\n".join(said.splitlines()[-_SHOWN_LINES:]))
        raise BackendError(f"`{command} {' '.join(arguments)}` ended with exit code {code}\n{tail}")


class Backend:
    """A `nexmdm serve` process (or a stand-in) with its JSON log in `log_file`, its stderr beside it (`.stderr`)."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], log_file: Path, *, log_pipe: bool = False
    ) -> None:
        """command: argv, e.g. [path, "serve"]; env: added to a bare environment; log_file: appended to.

        log_pipe: stdout is a pipe, and `reader` brings what comes out of it to the file.
        """
        self.log_file = log_file
        self.stderr_file = log_file.with_name(f"{log_file.name}.stderr")
        self._command = list(command)
        self._env = dict(env)
        self._child: Child | None = None
        self._log_pipe = log_pipe
        self._reader: Child | None = None
        self._mark = 0
        self._port = 0

    def start(self) -> Backend:
        """Start the process and return at once. The first start takes a free port; later ones the same port."""
        if self.running:
            raise BackendError("the backend runs already")
        self.log_file.touch()
        self._mark = LogTap(self.log_file).mark()
        env = bare_environment({"NEXMDM_PORT": str(self._port)} | self._env | {"PYTHONUNBUFFERED": "1"})
        with self.log_file.open("ab") as log, self.stderr_file.open("ab") as stderr, self._read_into(log) as stdout:
            self._child = Child(self._command, env=env, stdout=stdout, stderr=stderr)
        return self

    @contextlib.contextmanager
    def _read_into(self, log: IO[bytes]) -> Iterator[IO[bytes]]:
        """What the backend is to have as stdout: the file itself, or a pipe to a new reader."""
        if not self._log_pipe:
            yield log
            return
        self._end_reader()
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb") as sink:
            self._reader = Child(["cat"], env=bare_environment({}), stdin=source, stdout=log)
            yield sink

    def _end_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.stop(2.0, first=signal.SIGCONT)  # it ends by itself once nobody writes any more

    def wait_ready(self, within_s: float = READY_WITHIN_S) -> Backend:
        """Return when GET /readyz answers 200. BackendError at once when the process dies, or when time is up.

        The port is the one that this process (or a child of it) logs in its `service.start` line.
        """
        try:
            eventually(self._is_ready, within_s, what="the backend's readiness")
        except WaitTimeout as error:
            self.stop(2.0)
            raise BackendError(f"{error}\n{self.last_words()}") from None
        return self

    def stop(self, within_s: float = 10.0) -> int | None:
        """SIGTERM, then SIGKILL after `within_s`. Returns the exit code (None: it did not run)."""
        child, self._child = self._child, None
        code = None if child is None else child.stop(within_s)
        self._end_reader()
        return code

    def kill(self, *, group: bool = False) -> None:
        """SIGKILL to the process alone, no goodbye: its children have to notice by themselves.

        group: to its children too, as when a container is killed.
        """
        if self._child is not None:
            self._child.send(signal.SIGKILL, group=group)
            self._child.wait()

    def restart(self, within_s: float = READY_WITHIN_S, env: Mapping[str, str] | None = None) -> Backend:
        """Stop if it runs, start on the same port, wait until ready. env: settings that are others from now on."""
        self.stop()
        self._env |= dict(env or {})
        return self.start().wait_ready(within_s)

    def wait(self) -> int:
        """Wait until the process ends by itself, for as long as that takes. Returns the exit code."""
        if self._child is None:
            raise BackendError("the backend does not run")
        return self._child.wait()

    @property
    def pid(self) -> int:
        """Process id of the running process. BackendError when there is none."""
        if self._child is None or self._child.poll() is not None:
            raise BackendError(f"the backend does not run\n{self.last_words()}")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._child is not None and self._child.poll() is None

    @property
    def reader(self) -> Child:
        """What reads the pipe, to be frozen or killed. BackendError where there is none."""
        if self._reader is None:
            raise BackendError("the backend's log is no pipe")
        return self._reader

    @property
    def base_url(self) -> str:
        """http://127.0.0.1:PORT; known once wait_ready has returned."""
        if not self._port:
            raise BackendError("the backend's port is not known before wait_ready")
        return f"http://127.0.0.1:{self._port}"

    def last_words(self) -> str:
        """The last lines of its log and of its stderr, secrets masked."""
        parts = []
        for file in (self.log_file, self.stderr_file):
            lines = file.read_text(errors="replace").splitlines() if file.exists() else []
            parts += [f"-- last lines of {file.name}:", *lines[-_SHOWN_LINES:]] if lines else [f"-- {file.name}: empty"]
        return SECRETS.mask("\n".join(parts))

    def _is_ready(self) -> bool:
        assert self._child is not None
        code = self._child.poll()
        if code is not None:
            self._child.reap()
            self._child = None
            raise BackendError(f"the backend ended with exit code {code} before it was ready\n{self.last_words()}")
        if not self._port:
            self._port = self._logged_port()
        try:
            address = urlsplit(self.base_url).netloc
            with contextlib.closing(http.client.HTTPConnection(address, timeout=2.0)) as connection:
                connection.request("GET", "/readyz")
                answer = connection.getresponse()
                text = answer.read(2000).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise AssertionError(f"GET /readyz: {error!r}") from None
        assert answer.status == 200, f"GET /readyz: {answer.status} {text}"
        return True

    def _logged_port(self) -> int:
        """The port of our process's (or its children's) `service.start` line: replicas share one log file."""
        assert self._child is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self._child.pid)
            ours = {process.pid, *(child.pid for child in process.children(recursive=True))}
            for line in LogTap(self.log_file).since(self._mark):
                if line.get("event") == "service.start" and line.get("port") and line.get("pid") in ours:
                    return int(line["port"])
        raise AssertionError("no service.start line with a port yet")
