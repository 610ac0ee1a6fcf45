"""PostgreSQL for a run: the embedded server (or a given one), a migrated template, clones of it, and three roles.

The owner makes and migrates databases, the service's role works in them, the reader looks. It knows no
table of the backend: the caller hands in the functions that migrate and that grant.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psutil
import psycopg
from psycopg import sql

from harness.postgres.binaries import install, server_user
from harness.processes.child import Child, bare_environment, last_lines, run_to_end, workspace
from harness.settings import SECRETS, HarnessError
from harness.waiting import WaitTimeout, eventually

APP_ROLE = "nexmdm_app"
READER_ROLE = "nexmdm_reader"
_START_WITHIN_S = 30.0
_TEMPLATE = "nexmdm_template"


class PostgresError(HarnessError):
    """The server did not start, or refused what it was asked. The message ends with its last log lines."""


class Postgres:
    """One PostgreSQL server, either ours (a child process, unix socket only) or somebody else's (attached).

    URLs look like postgresql://postgres@/name?host=/socket/dir for our own server; psycopg and asyncpg take them.
    """

    def __init__(self, admin_url: str, *, template_name: str | None = None) -> None:
        """Use `start` or `attach`."""
        self.admin_url = admin_url
        self.template_name = template_name
        self._made: list[str] = []
        self._made_role: str | None = None
        self._child: Child | None = None
        self._argv: list[str] = []
        self._data = self._log = Path()
        self._env: dict[str, str] = {}

    @classmethod
    def start(
        cls,
        data_dir: Path | None = None,
        *,
        log_file: Path | None = None,
        env: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> Postgres:
        """Start our own server on a fresh cluster, under 3 s. Raises PostgresError.

        data_dir: where the cluster lives, an empty folder that is kept; default a temporary one that `stop` removes;
        env: more of an environment for the server; settings: as in postgresql.conf; durable: keep fsync on, without
        which nothing may be said about what survives a crash, and a database is dropped in a tenth of the time.
        """
        user = server_user()
        binaries = install()
        sockets = _owned_by(user, workspace("pg"))
        data = _owned_by(user, data_dir if data_dir is not None else workspace("pgdata"))
        self = cls(f"postgresql://postgres@/postgres?{urlencode({'host': sockets}, safe='/')}")
        self._env = _environment() | dict(env or {})
        self._data, self._log = data, log_file or workspace("pglog") / "postgres.log"
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--no-instructions"]
        initdb += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        initdb += ["--no-sync"]  # concerns only the making of the cluster: not what the server writes
        code, said = run_to_end(initdb, env=_environment(), within_s=_START_WITHIN_S, user=user, cwd="/")
        if code:
            raise PostgresError(f"initdb ended with exit code {code}: {said.strip()[-2000:]}")
        self._argv = [str(binaries / "postgres"), "-D", str(data), "-k", str(sockets), "-h", ""]
        self._argv += ["-c", "max_connections=600", "-c", "timezone=UTC", "-c", "log_timezone=UTC"]
        if not durable:
            self._argv += ["-c", "fsync=off"]
        for name, value in (settings or {}).items():
            self._argv += ["-c", f"{name}={value}"]
        self._launch()
        # pg_read_all_data alone reads no row behind a policy.
        self._run(f"CREATE ROLE {READER_ROLE} LOGIN BYPASSRLS IN ROLE pg_read_all_data")
        self._run(f"ALTER ROLE {READER_ROLE} SET default_transaction_read_only = on")
        return self

    @classmethod
    def attach(cls, admin_url: str, *, template_name: str | None = None) -> Postgres:
        """Use a server that runs already (DATABASE_URL, or the server of the pytest-xdist controller).

        template_name: the template that another process has migrated on it (its `.template_name`).
        """
        self = cls(admin_url, template_name=template_name)
        self._run("SELECT 1")
        return self

    @property
    def owned(self) -> bool:
        """Whether the server is ours: pause, resume, halt and restart need that."""
        return bool(self._argv)

    @property
    def running(self) -> bool:
        """Whether our own server's postmaster lives: it ends by itself when, say, its disk is full."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of our own server's postmaster; None when attached or halted."""
        return self._child.pid if self._child else None

    def template(self, migrate: Callable[[str], None], grant: Callable[[str, str], None] | None = None) -> None:
        """Make the template database and let `migrate(url)` fill it. Later calls do nothing.

        grant: gives, in the database of a URL, the role of a name what the service needs; `app_url` is then of use.
        """
        if self.template_name is not None:
            return
        name = _TEMPLATE if self.owned else f"{_TEMPLATE}_{secrets.token_hex(4)}"
        self._create(name, "template1")
        migrate(self.url(name))
        if grant is not None and (role := self._make_role(_role_of(name))):
            grant(self.url(name), role)
        self.template_name = name

    def clone(self, name: str) -> str:
        """Make database `name` from the template (empty when there is none), tens of ms. Returns its URL."""
        self._create(name, self.template_name or "template1")
        return self.url(name)

    def empty(self, name: str) -> str:
        """Make database `name` without anything in it, to restore a backup into. Returns its URL."""
        self._create(name, "template0")
        return self.url(name)

    def drop(self, name: str) -> None:
        """Drop database `name`, its connections cut. Unknown: nothing happens."""
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        if name in self._made:
            self._made.remove(name)

    def url(self, name: str, user: str | None = None) -> str:
        """The URL of database `name` on this server."""
        parts = urlsplit(self.admin_url)
        netloc = parts.netloc if user is None else f"{user}@{parts.netloc.rpartition('@')[2]}"
        # Not urlunsplit: it drops the empty authority of postgresql:///name.
        return f"{parts.scheme}://{netloc}/{quote(name)}" + (f"?{parts.query}" if parts.query else "")

    @property
    def app_role(self) -> str | None:
        """The role that the service runs as; None where the server did not let us make one, or nobody asked for it."""
        role = _role_of(self.template_name or "")
        return role if self.template_name and self._can_log_in(role) else None

    def app_url(self, url: str) -> str:
        """The same database for the service's own role; the same user where there is no such role."""
        role = self.app_role
        return self.url(urlsplit(url).path.lstrip("/"), f"{role}:{self._password(role)}") if role else url

    @property
    def reader_role(self) -> str | None:
        """The role that reads every table and writes none; None on a server that is not ours."""
        return READER_ROLE if self._can_log_in(READER_ROLE) else None

    def reader_url(self, url: str) -> str:
        """The same database for a role that can read every table and change none.

        On a server without our reader role the same user is kept and its transactions are made read-only.
        """
        if role := self.reader_role:
            return self.url(urlsplit(url).path.lstrip("/"), role)
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query)) | {"options": "-c default_transaction_read_only=on"}
        return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote, safe="/")))

    def refuse(self, name: str) -> None:
        """One database is "down": its connections are cut and new ones refused. Others on the server live on."""
        self._run("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", name)
        self._run("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", parameters=(name,))

    def accept(self, name: str) -> None:
        """End `refuse`."""
        self._run("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true", name)

    def pause(self) -> None:
        """Freeze the whole server (SIGSTOP): every connection hangs, none is refused. Own server only."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """End `pause`."""
        self._signal_all(signal.SIGCONT)

    def halt(self) -> None:
        """Shut the server down, keep its data; connecting is refused until `restart`. Own server only."""
        self._need_own("halt")
        if self._child is not None:
            self.resume()
            self._child.stop(10.0, first=signal.SIGINT)  # "fast": sessions are cut, everything is written
            self._child = None

    def kill(self) -> None:
        """SIGKILL to every process of the server at once; what it has written to files stays. Own server only."""
        self.pause()  # a running postmaster would start new children meanwhile
        child, self._child = self._child, None
        if child is None or child.poll() is not None:
            return
        postmaster = psutil.Process(child.pid)
        children = postmaster.children(recursive=True)
        for process in (*children, postmaster):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        child.reap()
        psutil.wait_procs(children, _START_WITHIN_S)  # one that lingers would keep the shared memory

    def restart(self) -> None:
        """Stop the server if it runs and start it again on the same data and socket. Own server only."""
        self.halt()
        self._launch()

    def stop(self) -> None:
        """End the server (its temporary data goes with the run); attached: drop the databases that this object made."""
        if self.owned:
            self.halt()
            return
        for name in list(self._made):
            self.drop(name)
        if self._made_role:
            with contextlib.suppress(PostgresError):  # a database that somebody kept still names it
                self._run("DROP ROLE IF EXISTS {}, {}", self._made_role, f"{self._made_role}_background")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _launch(self) -> None:
        with self._log.open("ab") as log:
            self._child = Child(
                self._argv, env=self._env, kind="postgres", user=server_user(), cwd="/", stdout=log, stderr=log
            )
        child = self._child

        def answers() -> bool:
            if child.poll() is not None:
                self._child = None
                raise PostgresError(f"PostgreSQL ended with exit code {child.reap()}\n{last_lines(self._log)}")
            try:
                psycopg.connect(self.admin_url).close()
            except psycopg.OperationalError as error:
                raise AssertionError(str(error)) from None
            return True

        try:
            eventually(answers, _START_WITHIN_S, what="PostgreSQL's start")
        except WaitTimeout as error:
            self.halt()
            raise PostgresError(f"{error}\n{last_lines(self._log)}") from None

    def _create(self, name: str, source: str) -> None:
        self._made.append(name)
        self._run("CREATE DATABASE {} TEMPLATE {}", name, source)

    def _run(self, statement: str, *names: str, parameters: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
        query = sql.SQL(statement).format(*map(sql.Identifier, names))
        try:
            with psycopg.connect(self.admin_url, autocommit=True, connect_timeout=10) as connection:
                cursor = connection.execute(query, parameters)
                return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            first_line = str(error).strip().partition("\n")[0]
            raise PostgresError(SECRETS.mask(f"{statement.format(*names)}: {first_line}")) from error

    def _make_role(self, role: str) -> str | None:
        """A role that can connect and nothing else; None where making roles is not ours."""
        [(may,)] = self._run("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
        if not may:
            return None
        # Not a parameter: such a statement takes none. A digest needs no quoting.
        self._run(f"CREATE ROLE {{}} LOGIN PASSWORD '{self._password(role)}'", role)
        self._made_role = role
        return role

    def _password(self, role: str) -> str:
        """The same in each process of a run that was handed the server's URL; of no use to who was not."""
        password = hmac.digest(self.admin_url.encode(), role.encode(), "sha256").hex()
        SECRETS.add(password)
        return password

    def _can_log_in(self, role: str) -> bool:
        return bool(self._run("SELECT 1 FROM pg_roles WHERE rolname = %s AND rolcanlogin", parameters=(role,)))

    def _need_own(self, what: str) -> None:
        if not self.owned:
            raise PostgresError(f"cannot {what} a server that the harness did not start")

    def _signal_all(self, number: signal.Signals) -> None:
        """PostgreSQL's own children each lead a session of their own: they are found by their parent."""
        self._need_own("signal")
        if self._child is None or self._child.poll() is not None:
            return
        postmaster = psutil.Process(self._child.pid)
        postmaster.send_signal(number)  # first: a running postmaster would start new children meanwhile
        for child in postmaster.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(number)


def _role_of(template: str) -> str:
    """The service's role in the clones of a template: `nexmdm_app`, with the same ending."""
    return template.replace(_TEMPLATE, APP_ROLE, 1)


def _environment() -> dict[str, str]:
    """The server sees none of our settings."""
    return {key: value for key, value in bare_environment({}).items() if key in ("PATH", "TZ")} | {"LC_ALL": "C"}


def _owned_by(user: int | None, folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if user is not None:
        os.chown(folder, user, user)
    return folder
