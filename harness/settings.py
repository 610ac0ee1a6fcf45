"""Every environment variable of the harness, the target they describe, and the masking of secrets.

It starts nothing and connects to nothing: it only reads, checks and explains.

| variable | meaning | default |
|---|---|---|
| NEXMDM_BASE_URL | the deployment under test; unset: the launcher starts a stack of its own | unset |
| NEXMDM_ADMIN_KEY | its admin key | required with a base URL |
| NEXMDM_HMAC_SECRET | the secret that signs /admin/command | required with a base URL |
| DATABASE_URL | the target's database (read-only use); without a base URL: the server to make databases on | unset |
| NEXMDM_TEMPLATE | a migrated database on that server, to be cloned instead of migrating one | unset |
| NEXMDM_LOG_FILE | the target's JSON log | unset |
| NEXMDM_FCM_URL | control address of the fake FCM that the target sends to | unset |
| NEXMDM_PROVIDER_CONTROL_URL | control address of the fake provider of sandboxes that the target asks | unset |
| NEXMDM_OBJECTS_DIR | the directory of the target's platform objects, when it lies on this machine | unset |
| NEXMDM_BACKEND_PID | process id of the target, when it runs on this machine | unset |
| NEXMDM_BACKEND_COMMAND | the `nexmdm` command to start: for a stack, or beside a given target | nexmdm |
| NEXMDM_ARTIFACTS | where runs leave their output | ./artifacts |
| NEXMDM_ALLOW_PRODUCTION | 1: run against an address that looks like production | unset |
| NEXMDM_CHECKED | set by the launcher for its command: the base URL that was looked at | unset |
| SSL_CERT_FILE, SSL_CERT_DIR | whom https trusts; the variables of OpenSSL | the system's |

No request to a target goes through a proxy: HTTP_PROXY and its relatives count for package registries alone.
"""

from __future__ import annotations

import ipaddress
import os
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

MASK = "***"
_LOCAL_SUFFIXES = (".test", ".local", ".localhost")
_TOKEN_SHAPES = re.compile(r"nx[ek]_[A-Za-z0-9_-]{8,}|nxd_[0-9a-f]{8,}(?:_[A-Za-z0-9_-]+)?|ya29\.[A-Za-z0-9._-]{8,}")


class HarnessError(Exception):
    """The harness itself cannot go on, which says nothing about the product. The message is for people."""


class SettingsError(HarnessError):
    """The environment does not describe a usable target. The message is one line and names the variable."""


@dataclass(frozen=True)
class Target:
    """A running deployment: how to reach it, and which of its insides this run may look at."""

    base_url: str
    admin_key: str = field(repr=False)
    hmac_secret: str = field(repr=False)
    database_url: str | None = None
    log_file: Path | None = None
    fcm_url: str | None = None
    backend_pid: int | None = None
    provider_control_url: str | None = None
    objects_dir: Path | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Target:
        """Read the target from the environment. SettingsError: incomplete, malformed, or it looks like production."""
        env = os.environ if environ is None else environ
        missing = [name for name in ("NEXMDM_BASE_URL", "NEXMDM_ADMIN_KEY", "NEXMDM_HMAC_SECRET") if not env.get(name)]
        if missing:
            stack = "" if env.get("NEXMDM_BASE_URL") else " (start a stack with `python -m harness run -- CMD`)"
            raise SettingsError(f"{', '.join(missing)}: not set{stack}")
        refuse_production(env["NEXMDM_BASE_URL"], "NEXMDM_BASE_URL", env)
        _refuse_more_than_an_origin(env["NEXMDM_BASE_URL"], "NEXMDM_BASE_URL", ("http", "https"))
        for name in ("NEXMDM_FCM_URL", "NEXMDM_PROVIDER_CONTROL_URL"):
            if env.get(name):
                _refuse_more_than_an_origin(env[name], name, ("http",))
        for name in ("NEXMDM_ADMIN_KEY", "NEXMDM_HMAC_SECRET"):
            if len(env[name]) < Secrets.SHORTEST:
                raise SettingsError(
                    f"{name}: shorter than {Secrets.SHORTEST} characters; the reports could not mask it"
                )
        key = env["NEXMDM_ADMIN_KEY"]
        if not (key.isascii() and key.isprintable() and key == key.strip()):
            raise SettingsError("NEXMDM_ADMIN_KEY: holds what no header can carry (a line end, a space at an end, ...)")
        if env.get("DATABASE_URL"):
            refuse_production(env["DATABASE_URL"], "DATABASE_URL", env)
        pid = env.get("NEXMDM_BACKEND_PID") or None
        if pid is not None and not pid.isdecimal():
            raise SettingsError(f"NEXMDM_BACKEND_PID: not a process id: {pid}")
        log_file = env.get("NEXMDM_LOG_FILE") or None
        return cls(
            base_url=env["NEXMDM_BASE_URL"].rstrip("/"),
            admin_key=env["NEXMDM_ADMIN_KEY"],
            hmac_secret=env["NEXMDM_HMAC_SECRET"],
            database_url=env.get("DATABASE_URL") or None,
            log_file=Path(log_file) if log_file else None,
            fcm_url=env.get("NEXMDM_FCM_URL") or None,
            provider_control_url=env.get("NEXMDM_PROVIDER_CONTROL_URL") or None,
            backend_pid=int(pid) if pid else None,
            objects_dir=Path(env["NEXMDM_OBJECTS_DIR"]) if env.get("NEXMDM_OBJECTS_DIR") else None,
        )

    @property
    def capabilities(self) -> frozenset[str]:
        """What of {"database", "logs", "fcm", "provider", "process"} this target lets a suite look at or control."""
        held = {
            "database": self.database_url,
            "logs": self.log_file,
            "fcm": self.fcm_url,
            "provider": self.provider_control_url,
            "process": self.backend_pid,
        }
        return frozenset(name for name, value in held.items() if value is not None)

    def as_env(self) -> dict[str, str]:
        """The environment variables from which `from_env` makes this target again."""
        pairs = {
            "NEXMDM_BASE_URL": self.base_url,
            "NEXMDM_ADMIN_KEY": self.admin_key,
            "NEXMDM_HMAC_SECRET": self.hmac_secret,
            "DATABASE_URL": self.database_url,
            "NEXMDM_LOG_FILE": self.log_file,
            "NEXMDM_FCM_URL": self.fcm_url,
            "NEXMDM_PROVIDER_CONTROL_URL": self.provider_control_url,
            "NEXMDM_BACKEND_PID": self.backend_pid,
            "NEXMDM_OBJECTS_DIR": self.objects_dir,
        }
        return {name: str(value) for name, value in pairs.items() if value is not None}


def refuse_production(url: str, variable: str, environ: Mapping[str, str] | None = None) -> None:
    """Raise SettingsError unless the URL's host is loopback, private, .test, .local, .localhost or a unix socket.

    A host whose name holds "prod" is refused wherever it lives. NEXMDM_ALLOW_PRODUCTION=1 lifts the refusal.
    """
    env = os.environ if environ is None else environ
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower().rstrip(".")
    except ValueError as error:
        raise SettingsError(f"{variable}: not a URL ({error})") from None
    socket_dir = next(iter(parse_qs(parts.query).get("host", [])), "")
    if not host and parts.scheme.startswith("postgres"):
        host = socket_dir.lower() if socket_dir and not socket_dir.startswith("/") else "localhost"
    if not host or not parts.scheme:
        raise SettingsError(f"{variable}: not a URL with a scheme and a host")
    if env.get("NEXMDM_ALLOW_PRODUCTION") == "1":
        return
    if "prod" in host or not _is_local(host):
        raise SettingsError(f"{variable}: host {host} looks like production; NEXMDM_ALLOW_PRODUCTION=1 allows it")


def _refuse_more_than_an_origin(url: str, variable: str, schemes: tuple[str, ...]) -> None:
    """Raise SettingsError unless the URL is a scheme, a host and perhaps a port.

    Under a path the paths of openapi.yaml, of the log and of signed requests would be others than those on the wire.
    """
    parts = urlsplit(url)
    if parts.scheme not in schemes:
        raise SettingsError(f"{variable}: {' or '.join(f'{scheme}://' for scheme in schemes)}, not {parts.scheme}://")
    if parts.username is not None or parts.password is not None:
        raise SettingsError(f"{variable}: holds a user name; the API has none")
    try:
        _ = parts.port
    except ValueError:
        raise SettingsError(f"{variable}: the port is no number below 65536") from None
    if parts.path.strip("/") or parts.query or parts.fragment:
        more = parts._replace(scheme="", netloc="").geturl()
        raise SettingsError(
            f"{variable}: more than an origin ({more}); the suites need the service at the root of a host"
        )


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(_LOCAL_SUFFIXES):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or (address.is_private and not address.is_unspecified)


_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "no_proxy")


def without_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child that speaks to a target with a client that would obey a proxy: it must see none.

    A proxy would see every secret, and answer in place of the service.
    """
    return {name: value for name, value in environ.items() if name.lower() not in _PROXIES} | {"NO_PROXY": "*"}


def artifacts(*parts: str, environ: Mapping[str, str] | None = None) -> Path:
    """The folder below NEXMDM_ARTIFACTS (default ./artifacts) named by `parts`, made when it is missing."""
    env = os.environ if environ is None else environ
    folder = Path(env.get("NEXMDM_ARTIFACTS") or "artifacts").absolute().joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def backend_command(environ: Mapping[str, str] | None = None) -> str:
    """The `nexmdm` command that the launcher starts: NEXMDM_BACKEND_COMMAND, else the one on PATH."""
    env = os.environ if environ is None else environ
    return env.get("NEXMDM_BACKEND_COMMAND") or "nexmdm"


class Secrets:
    """The values that must never be printed: those that were added, and anything shaped like a NexMDM token."""

    SHORTEST = 8  # a shorter value would mask ordinary text

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        self.add(*values)

    def add(self, *values: str) -> None:
        """Mask these values from now on. ValueError: one is shorter than SHORTEST."""
        for value in values:
            if len(value) < self.SHORTEST:
                raise ValueError(f"a secret of fewer than {self.SHORTEST} characters cannot be masked")
        with self._lock:
            self._values.update(values)

    def __contains__(self, value: object) -> bool:
        return value in self._values

    def known(self) -> frozenset[str]:
        """The values added so far (for the gate that searches logs and artifacts for them)."""
        with self._lock:
            return frozenset(self._values)

    def mask(self, text: str) -> str:
        """The text with every known secret, and every token-shaped word, replaced by ***."""
        for value in sorted(self.known(), key=len, reverse=True):
            text = text.replace(value, MASK)
        return _TOKEN_SHAPES.sub(MASK, text)


SECRETS = Secrets()
