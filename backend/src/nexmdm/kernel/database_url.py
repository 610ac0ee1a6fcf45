"""What can be wrong with a PostgreSQL URL before anybody connects, and how to name its server. It holds no connection.

The driver reads more than the URL: certificates beside it, in files that the URL or the environment names or that lie
in ~/.postgresql. One that cannot be read would fail each connection, with a message that names neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_VERIFIED: Final = _MODES[3:]  # those that look at the server's certificate, the first where there is a root.crt
_FILES: Final = {  # parameter of the URL -> variable, file in ~/.postgresql
    "sslrootcert": ("PGSSLROOTCERT", "root.crt"),
    "sslcrl": ("PGSSLCRL", "root.crl"),
    "sslkey": ("PGSSLKEY", "postgresql.key"),
    "sslcert": ("PGSSLCERT", "postgresql.crt"),
}


def check(url: str, environment: Mapping[str, str]) -> None:
    """Refuse what no connection can come of.

    Raises:
        ValueError: what is wrong, on one line that holds no part of the URL but the name of a file.
    """
    if not re.fullmatch("[!-~]*", url):
        raise ValueError("must be printable ASCII; percent-encode the rest")
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        # A / or # in a password ends the authority, and what follows would be taken for something else.
        well_formed = parts.scheme in {"postgresql", "postgres"} and parts.port != 0
        well_formed = well_formed and "@" not in parts.path and not parts.fragment
    except ValueError:  # a port that is none, half of an IPv6 address; its text quotes what may be the password
        well_formed, query = False, {}
    if not well_formed:
        raise ValueError("must be a postgresql:// URL")
    mode = query.get("sslmode") or environment.get("PGSSLMODE")
    if mode not in {None, *_MODES}:
        raise ValueError(f"its sslmode is none of {', '.join(_MODES)}")
    if mode != "disable" and (mode is not None or _is_tcp(url)):
        _check_files(mode or "prefer", query, environment)


def _check_files(mode: str, query: Mapping[str, str], environment: Mapping[str, str]) -> None:
    for parameter, (variable, usual) in _FILES.items():
        of_server = parameter == "sslrootcert"
        if of_server and mode not in _VERIFIED:
            continue
        named = query.get(parameter) or environment.get(variable)
        needed = named or (of_server and mode.startswith("verify"))
        try:
            path = Path(named) if named else Path.home() / ".postgresql" / usual
            path.open("rb").close()
        except (OSError, RuntimeError) as error:
            nothing = isinstance(error, FileNotFoundError | NotADirectoryError | RuntimeError)
            if needed or not nothing:
                where = named or f"~/.postgresql/{usual}"
                reason = getattr(error, "strerror", None) or "there is no home"
                raise ValueError(f"cannot read {where} ({parameter}, {variable}): {reason}") from None


def closed_home() -> bool:
    """Whether the home is a folder that we may not enter, as in a container that runs as another user."""
    try:
        (Path.home() / ".postgresql").stat()
    except PermissionError:
        return True
    except (OSError, RuntimeError):
        return False
    return False


def server(url: str) -> str:
    """The server of a URL, such as `PostgreSQL at db.example:5432`; never a user or a password.

    A name without a user before it may be a password that was put in the wrong place.
    """
    parts = urlsplit(url)
    if parts.netloc and "@" not in parts.netloc:
        return "PostgreSQL at the host of the URL"
    query = dict(parse_qsl(parts.query))
    host = parts.netloc.rpartition("@")[2] or query.get("host", "its default address")
    return f"PostgreSQL at {host}" + (f":{query['port']}" if "port" in query else "")


def _is_tcp(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2] or dict(parse_qsl(parts.query)).get("host", "/")
    return any(not one.startswith(("/", "%2F", "%2f")) for one in host.split(","))
