"""What `up` and `run` do: a stack for people, and a command beside a stack.

It handles no signal: whatever interrupts it, everything that it started is stopped on the way out.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness import preflight
from harness.postgres.server import Postgres
from harness.processes.child import Child, CommandNotFoundError
from harness.settings import SettingsError, artifacts, refuse_production
from harness.stack.backend import BackendError
from harness.stack.stack import Stack
from harness.waiting import Interrupted, WaitTimeout

_CMD_GOODBYE_S = 15.0


def say(text: str) -> None:
    """A line for people: stdout belongs to the JSON line, and to CMD."""
    print(f"harness: {text}", file=sys.stderr, flush=True)


def up(workers: int, env_file: Path | None, settings: Mapping[str, str], postgres: Mapping[str, str]) -> int:
    """Start a stack, print where it is as one JSON line, keep it until a signal comes or the backend dies.

    env_file: where to leave the same as `export` lines for as long as the stack lives; readable for its owner only.
    settings: of the backend, instead of the stack's own; postgres: of the embedded server.
    """
    if os.environ.get("NEXMDM_BASE_URL"):
        raise SettingsError("NEXMDM_BASE_URL: set, but `up` starts a stack of its own; unset it")
    with _stack(workers, settings, postgres) as stack:
        target = stack.target
        details = {
            "base_url": target.base_url,
            "admin_key": target.admin_key,
            "hmac_secret": target.hmac_secret,
            "database_url": target.database_url,
            "log_file": str(target.log_file),
            "fcm_url": target.fcm_url,
            "provider_control_url": target.provider_control_url,
            "platform_admin_key": stack.init_platform(),
            "backend_pid": target.backend_pid,
            "backend_command": stack.command,
        }
        with _env_file(env_file, target.as_env() | {"NEXMDM_BACKEND_COMMAND": stack.command}):
            sys.stdout.write(json.dumps(details) + "\n")
            sys.stdout.flush()
            say("Ctrl-C stops it")
            code = stack.backend.wait()
        raise BackendError(f"the backend ended by itself with exit code {code}\n{stack.backend.last_words()}")


@contextlib.contextmanager
def _env_file(path: Path | None, variables: Mapping[str, str]) -> Iterator[None]:
    if path is None:
        yield
        return
    try:
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()))
    except OSError as error:
        raise SettingsError(f"--env-file {path}: {error.strerror}") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def run(
    command: Sequence[str], workers: int, only: str | None, settings: Mapping[str, str], postgres: Mapping[str, str]
) -> int:
    """Run the command beside a live stack (or PostgreSQL alone, or the given deployment). Returns its exit code."""
    if shutil.which(command[0]) is None:
        raise CommandNotFoundError(f"command not found: {command[0]}")
    if only is None and os.environ.get("NEXMDM_BASE_URL"):
        if settings:
            raise SettingsError("NEXMDM_BASE_URL: set, so nothing is started that --set could be for")
        if postgres:
            raise SettingsError("NEXMDM_BASE_URL: set, so nothing is started that --postgres could be for")
        target = preflight.given_target()
        say(f"NEXMDM_BASE_URL is set: nothing is started, the target is {target.base_url}")
        return _run_child(command, {preflight.CHECKED: target.base_url})
    if only == "postgres":
        # Hundreds of databases come and go on it, and it goes with the command: no crash of it is anybody's subject.
        with _postgres(_log_dir(), postgres, durable=False) as server:
            url = server.clone(f"nexmdm_run_{os.getpid()}")
            return _run_child(command, {"NEXMDM_DATABASE_URL": url, "DATABASE_URL": url})
    with _stack(workers, settings, postgres) as stack:
        target = stack.target
        code = _run_child(command, target.as_env() | {preflight.CHECKED: target.base_url})
        if not stack.backend.running:
            say("note: the backend no longer ran when the command ended")
        return code


@contextlib.contextmanager
def _stack(workers: int, settings: Mapping[str, str], postgres: Mapping[str, str]) -> Iterator[Stack]:
    begun, logs = time.monotonic(), _log_dir()
    with (
        _postgres(logs, postgres) as server,
        Stack.start(workers=workers, env=settings, postgres=server, log_dir=logs, provider=True) as stack,
    ):
        took_s = time.monotonic() - begun
        say(f"ready after {took_s:.1f} s: {stack.target.base_url}, log {stack.target.log_file}")
        if server.app_role is None:
            say("note: no right to make a role on this server, so the backend runs as the database's owner")
        yield stack


def _postgres(logs: Path, settings: Mapping[str, str], *, durable: bool = True) -> Postgres:
    if (url := _server()) is None:
        return Postgres.start(log_file=logs / "postgres.log", settings=settings, durable=durable)
    if settings:
        raise SettingsError("DATABASE_URL: set, so no server is started that --postgres could be for")
    return Postgres.attach(url)


def _log_dir() -> Path:
    return artifacts("stack", f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}")


def _server() -> str | None:
    """DATABASE_URL, where given: the server to make databases on. Beside a base URL it is the target's own."""
    url = os.environ.get("DATABASE_URL") or None
    if os.environ.get("NEXMDM_BASE_URL"):
        return None
    if url is not None:
        refuse_production(url, "DATABASE_URL")
    return url


def _run_child(command: Sequence[str], extra: dict[str, str]) -> int:
    child = Child(command, env=os.environ | extra, stdin=None, stdout=None, stderr=None)
    try:
        code = child.wait()
    except Interrupted as interrupted:
        # As a terminal would: the signal to the whole group, and then the time to write a report.
        child.send(interrupted.number, group=True)
        with contextlib.suppress(WaitTimeout):
            child.wait(_CMD_GOODBYE_S)
        raise
    finally:
        child.stop(2.0)
    return code if code >= 0 else 128 - code
