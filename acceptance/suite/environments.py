"""Starts and ends the systems of one test process, and sweeps what each left behind: bad log lines, secrets at rest.

Does not start PostgreSQL for the run (conftest.py does, once) unless a case asks for a server of its own.
"""

import functools
import os
import time
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import psycopg

from acceptance.system.s3 import BUCKET, S3Server
from acceptance.system.system import System
from harness.oracles import log_schemas
from harness.oracles.secret_scan import Search
from harness.postgres.server import Postgres
from harness.settings import SECRETS, HarnessError, Target, backend_command, refuse_production
from harness.stack.backend import grant, migrate
from harness.stack.stack import Stack


def given_target() -> Target | None:
    """The deployment that the environment names; None: this run starts its own."""
    return Target.from_env() if os.environ.get("NEXMDM_BASE_URL") else None


def capabilities() -> frozenset[str]:
    """What this run may look into. `stack`: it starts backends itself, with settings of their own.

    Beside a given target it does so where it was told what to start: the command of the software that is deployed.
    """
    given = given_target()
    if given is None:
        return frozenset({"database", "logs", "fcm", "process", "stack"})
    return given.capabilities | ({"stack"} if os.environ.get("NEXMDM_BACKEND_COMMAND") else set())


# Devices enrol by the hundred; a hash at the default cost takes 60 ms.
CHEAP_HASHES = {"NEXMDM_BCRYPT_COST": "4"}
# At the start: what a case leaves overdue (a sandbox, an agent that is silent) changes no row amid a later one.
JOBS_ONCE = {
    f"NEXMDM_{job}_EVERY_S": "86400"
    for job in ("SYNC", "DRY_SYNC", "CLEANUP", "EXPIRY", "STALE", "PLATFORM_SWEEP", "PLATFORM_SYNC")
}


class StackError(Exception):
    """The run has nothing to test with: no PostgreSQL, no `nexmdm` command, or its migrations fail."""


def prepared_postgres() -> Postgres:
    """A server with a template database at the newest migration: our own, or without a given target DATABASE_URL's."""
    url = os.environ.get("DATABASE_URL") if given_target() is None else None
    template = os.environ.get("NEXMDM_TEMPLATE") or None
    try:
        if url:
            refuse_production(url, "DATABASE_URL")
        postgres = Postgres.attach(url, template_name=template) if url else Postgres.start()
    except HarnessError as error:
        raise StackError(str(error)) from error
    try:
        postgres.template(partial(migrate, backend_command()), partial(grant, backend_command()))
    except (HarnessError, TimeoutError) as error:
        postgres.stop()
        raise StackError(str(error)) from error
    except BaseException:
        postgres.stop()
        raise
    return postgres


class Stacks:
    """The shared system of a test process and the fresh ones; all are ended by `close`."""

    def __init__(self, given: Target | None, postgres: Postgres | None, log_dir: Path, *, on_s3: bool = False) -> None:
        """on_s3: every system keeps its objects on an S3 server, which they share."""
        self.given = given
        self.live: list[System] = []
        self.complaints: list[str] = []
        self.starts_s: list[float] = []
        self.postgres = postgres
        self._log_dir = log_dir
        self._shared: System | None = None
        self._own: System | None = None
        self._count = 0
        self._on_s3 = on_s3
        self._s3: S3Server | None = None

    @functools.cached_property
    def roles(self) -> frozenset[str]:
        """Which roles beside the owner the run's server has, as capabilities."""
        if self.postgres is None:
            return frozenset()
        held = {"app role": self.postgres.app_role, "reader role": self.postgres.reader_role}
        return frozenset(name for name, role in held.items() if role)

    def shared(self) -> System:
        """The system that the cases of this process share: the given target, or a backend on a database of its own."""
        if self._shared is None:
            if self.given is not None:
                self._shared = System.of(self.given)
                self.live.append(self._shared)
            else:
                self._shared = self.fresh(env=JOBS_ONCE)
        return self._shared

    def own(self) -> System:
        """A system that the run has started: the shared one, beside a given target one that is shared like it."""
        if self.given is None:
            return self.shared()
        if self._own is None:
            self._own = self.fresh()
        return self._own

    def fresh(
        self,
        workers: int = 1,
        env: Mapping[str, str] | None = None,
        *,
        replicas: int = 1,
        own_postgres: bool = False,
        postgres: Postgres | None = None,
        log_disk: Path | None = None,
        log_pipe: bool = False,
        provider: bool = False,
        s3: bool | None = None,
    ) -> System:
        """A backend with a database and a fake FCM of its own; own_postgres: a server too, for outages.

        provider: a fake provider of sandboxes, too. replicas: as many backends on the database; postgres: a server of
        the case's, which ends it. With log_disk (the folder of the log) or log_pipe (stdout is a pipe) the case makes
        the service lose lines: none need be there. s3: whether its objects lie on the S3 server of this
        process; None: as all of this run.
        """
        self._count += 1
        begun = time.monotonic()
        env = CHEAP_HASHES | dict(env or {})
        server = self.s3_server() if (self._on_s3 if s3 is None else s3) else None
        if server is not None:
            env = server.env | {"NEXMDM_PLATFORM_STORAGE_URL": f"s3://{BUCKET}/{uuid.uuid4()}"} | env
        stack = Stack.start(
            workers=workers,
            env=env,
            replicas=replicas,
            postgres=postgres or (None if own_postgres else self.postgres),
            log_dir=self._log_dir / f"{self._count:02}",
            log_disk=log_disk,
            log_pipe=log_pipe,
            provider=provider,
        )
        self.starts_s.append(round(time.monotonic() - begun, 2))
        system = System.of(stack.target, stack)
        system.s3 = server
        system.loses_lines = log_disk is not None or log_pipe
        self.live.append(system)
        return system

    def end(self, system: System) -> None:
        """Sweep what the system wrote and, if it was started here, stop it; safe to call twice."""
        if system not in self.live:
            return
        self.live.remove(system)
        if system.stack is None:
            system.close()
            return
        self.complaints += sweep_rows(system)
        system.close()
        system.stack.stop()
        self.complaints += sweep_log(system)

    def close(self) -> list[str]:
        for system in list(self.live):
            self.end(system)
        if self._s3 is not None:
            self._s3.stop()
        return self.complaints

    def s3_server(self) -> S3Server:
        """An S3 server of this process, which its systems share."""
        if self._s3 is None:
            self._log_dir.mkdir(parents=True, exist_ok=True)
            self._s3 = S3Server.start(self._log_dir / "s3.log")
        return self._s3


def sweep_log(system: System) -> list[str]:
    """Every line is as its schema says, none is missing, and none holds a secret or what a terminal would obey."""
    tap = system.logs.tap
    text = tap.path.read_bytes().decode()
    if system.loses_lines:  # as the case has made it
        lines = [line for line in tap.salvage()[0] if line["event"] != log_schemas.LOST]
    else:
        lines = tap.since(0)
    found = [*log_schemas.judge(lines), *_secrets().text(text), *log_schemas.unprintable(text)]
    return [SECRETS.mask(f"{tap.path.parent.name}: {text}") for text in found]


def sweep_rows(system: System) -> list[str]:
    """No table holds a secret in clear."""
    try:
        with psycopg.connect(system.db.url) as connection:
            return _secrets().tables(connection)
    except psycopg.OperationalError:
        return []  # the case has left the database down


def sweep_artifacts(folder: Path) -> list[str]:
    """No file that the run left behind holds a secret of any of its processes."""
    return _secrets().files(folder)


def _secrets() -> Search:
    return Search(SECRETS.known())
