"""The whole stack of a run, composed: PostgreSQL, fake FCM, fake provider where one is asked for, backend.

It holds no logic of its parts: each is started, awaited and stopped by its own module.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.fcm.server import FcmServer
from harness.oracles.log_tail import LogTap
from harness.postgres.server import Postgres
from harness.processes.child import bare_environment, run_to_end, workspace
from harness.provider.server import ProviderServer
from harness.settings import SECRETS, Target, backend_command
from harness.stack.backend import READY_WITHIN_S, Backend, BackendError, grant, migrate

_COMMAND_WITHIN_S = 60.0
# A run must meet the limits where it means to: the cases for 429 set their own.
_NO_LIMIT = "1000000/60"
_LIMITS = ("ADMIN", "TOKEN_CREATE", "APK_TOKEN", "APK_IP", "AUTH_FAIL", "TRACK")


class Stack:
    """A live backend with its own database and its own fake FCM. Use it as a context manager."""

    target: Target
    backends: list[Backend]
    fcm: FcmServer
    provider: ProviderServer | None
    logs: LogTap
    postgres: Postgres
    database: str
    env: dict[str, str]
    command: str

    def __init__(self, command: str) -> None:
        """Use `start`."""
        self.command = command
        self._parts = contextlib.ExitStack()

    @classmethod
    def start(
        cls,
        workers: int = 1,
        env: Mapping[str, str] | None = None,
        postgres: Postgres | None = None,
        *,
        replicas: int = 1,
        log_dir: Path | None = None,
        log_disk: Path | None = None,
        log_pipe: bool = False,
        provider: bool = False,
        command: str | None = None,
        ready_within_s: float = READY_WITHIN_S,
    ) -> Stack:
        """Start everything and return when the backend is ready.

        workers: web processes per backend; env: settings of the backend that replace the stack's own;
        postgres: a server that is shared (the stack then clones a database on it and drops it in the end),
        else a server of its own; replicas: backends on one database and
        one log file (`.backends`; `.backend` is the first); log_dir: where logs stay after the run (default: a
        temporary folder); log_disk: a folder for the backend's log alone; log_pipe: its stdout is a pipe;
        provider: a fake provider of sandboxes too (else the backend has none); command: the `nexmdm` command
        (default NEXMDM_BACKEND_COMMAND).
        Raises BackendError, PostgresError, FcmError, ProviderError; whatever was started is stopped again first.
        """
        stack = cls(command or backend_command())
        with contextlib.ExitStack() as undo:
            undo.callback(stack.stop)
            logs = log_dir or workspace("logs")
            log = (log_disk or logs) / "backend.log"
            stack._start(
                workers,
                dict(env or {}),
                postgres,
                replicas,
                logs,
                log,
                log_pipe,
                provider,
                ready_within_s,
            )
            undo.pop_all()
        return stack

    @property
    def backend(self) -> Backend:
        """The first (mostly the only) backend."""
        return self.backends[0]

    @property
    def owner(self) -> dict[str, str]:
        """The setting with which a command of the backend runs as the database's owner: to migrate, to grant."""
        return {"NEXMDM_DATABASE_URL": self.postgres.url(self.database)}

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Run `nexmdm ARGUMENTS` with the backend's settings to its end: exit code, and stdout with stderr."""
        settings = bare_environment(self.env | dict(env or {}))
        return run_to_end([self.command, *arguments], env=settings, within_s=_COMMAND_WITHIN_S)

    def init_platform(self) -> str:
        """Make the zones and the admin's key that clients begin with (`nexmdm platform init`). BackendError."""
        file = workspace("platform") / "admin-env"
        code, said = self.run("platform", "init", "--file", str(file), env=self.owner)
        if code:
            raise BackendError(f"`nexmdm platform init` ended with exit code {code}\n{SECRETS.mask(said)}")
        key = dict(line.partition("=")[::2] for line in file.read_text().splitlines())["NEXUS_API_KEY"]
        SECRETS.add(key)
        return key

    def stop(self) -> None:
        """Stop everything that this stack started; safe to call twice."""
        self._parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _start(
        self,
        workers: int,
        env: dict[str, str],
        postgres: Postgres | None,
        replicas: int,
        logs: Path,
        log: Path,
        log_pipe: bool,
        provider: bool,
        ready_within_s: float,
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        for old in logs.glob("*.log*"):
            if old.name != "postgres.log" or postgres is None:  # a server that is given has its log already
                old.unlink()
        # The fakes take a moment to import their libraries; PostgreSQL is made beside them.
        self.fcm = self._parts.enter_context(FcmServer.start(log_file=logs / "fcm.log", wait=False))
        self.provider = None
        if provider:
            started_provider = ProviderServer.start(log_file=logs / "provider.log", wait=False)
            self.provider = self._parts.enter_context(started_provider)
        if postgres is None:
            postgres = self._parts.enter_context(Postgres.start(log_file=logs / "postgres.log"))
        self.postgres = postgres
        postgres.template(partial(migrate, self.command), partial(grant, self.command))
        self.database = f"nexmdm_{secrets.token_hex(6)}"
        self._parts.callback(postgres.drop, self.database)
        url = postgres.clone(self.database)
        self.fcm.wait_ready()
        if self.provider is not None:
            self.provider.wait_ready()
        self.env = self._settings(postgres.app_url(url), workers) | env
        SECRETS.add(self.env["NEXMDM_ADMIN_KEY"], self.env["NEXMDM_HMAC_SECRET"])
        self.logs = LogTap(log)
        self.backends = []
        for _ in range(replicas):
            backend = Backend([self.command, "serve"], self.env, self.logs.path, log_pipe=log_pipe)
            self._parts.callback(backend.stop)
            self.backends.append(backend.start())
        for backend in self.backends:
            backend.wait_ready(ready_within_s)
        self.target = Target(
            base_url=self.backend.base_url,
            admin_key=self.env["NEXMDM_ADMIN_KEY"],
            hmac_secret=self.env["NEXMDM_HMAC_SECRET"],
            database_url=url,
            log_file=self.logs.path,
            fcm_url=self.fcm.url,
            provider_control_url=None if self.provider is None else self.provider.control.url,
            backend_pid=self.backend.pid,
            objects_dir=_directory(self.env["NEXMDM_PLATFORM_STORAGE_URL"]),
        )

    def _settings(self, database_url: str, workers: int) -> dict[str, str]:
        """The backend's settings for a test run: fresh secrets, everything on this machine, no limit in the way."""
        provider = {}
        if self.provider is not None:
            provider = {"NEXMDM_PROVIDER_URL": self.provider.url, "NEXMDM_PROVIDER_TOKEN": self.provider.token}
        limits = {f"NEXMDM_LIMIT_{name}": _NO_LIMIT for name in _LIMITS}
        return (
            limits
            | provider
            | {
                "NEXMDM_DATABASE_URL": database_url,
                "NEXMDM_ADMIN_KEY": secrets.token_urlsafe(24),
                "NEXMDM_HMAC_SECRET": secrets.token_urlsafe(32),
                "NEXMDM_FIREBASE_SERVICE_ACCOUNT_JSON": self.fcm.service_account,
                "NEXMDM_FCM_BASE_URL": self.fcm.url,
                "NEXMDM_HOST": "127.0.0.1",
                "NEXMDM_WORKERS": str(workers),
                "NEXMDM_STORAGE_URL": str(workspace("apk")),
                "NEXMDM_PLATFORM_STORAGE_URL": str(workspace("objects")),
                "NEXMDM_PLATFORM_MOUNT_ROOTS": tempfile.gettempdir(),
                "NEXMDM_PLATFORM_SWEEP_EVERY_S": "86400",  # what it removes shows in no digest
                "NEXMDM_PLATFORM_SWEEP_AFTER_S": "0",
                "NEXMDM_PLATFORM_TEARDOWN_EVERY_S": "0.2",
                "TMPDIR": str(workspace("tmp")),  # what a killed backend leaves there goes with the run
                "NEXMDM_DISPATCH_BACKOFF_BASE_S": "0.1",
                "NEXMDM_DISPATCH_BACKOFF_CAP_S": "1",
                "NEXMDM_STATS_EVERY_S": "0",  # each answer is of its own moment
            }
        )


def _directory(storage_url: str) -> Path | None:
    """Of a store on this machine; None: it is another."""
    return None if "://" in storage_url else Path(storage_url)
