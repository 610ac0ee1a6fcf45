"""A request as a curl line to copy and paste, its secrets replaced by shell variables.

It never shows a credential: the user who pastes the line sets the variable.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from harness.http.transport import Answer, Params
from harness.settings import SECRETS

_LONGEST_BODY = 2000
_VARIABLES = {"authorization": "Bearer $TOKEN", "x-admin": "$NEXMDM_ADMIN_KEY", "x-signature": "$SIGNATURE"}


@dataclass(frozen=True)
class Exchange:
    """One request with its answer (None: there was none), kept for the report of a failing case."""

    method: str
    path: str
    request_id: str
    answer: Answer | None
    render: Callable[[], str]  # only a failing case shows it, and to mask all that a run knows takes its time

    @property
    def curl(self) -> str:
        """The request as a curl line, secrets masked."""
        return self.render()


def curl_line(
    base_url: str,
    method: str,
    path: str,
    headers: Sequence[tuple[str, str]],
    content: bytes | None,
    params: Params | None = None,
) -> str:
    """The request as one line for a POSIX shell; base_url "": taken from NEXMDM_BASE_URL when it is pasted."""
    query = ""
    if params:
        pairs = list(params.items()) if isinstance(params, Mapping) else list(params)
        query = ("&" if "?" in path else "?") + urlencode(pairs, doseq=True)
    method_option = {"GET": "", "HEAD": "--head"}.get(method.upper(), f"-X {shlex.quote(method)}")
    # Only the variable stands in double quotes: the shell must not touch the rest.
    base = shlex.quote(SECRETS.mask(base_url)) if base_url else '"$NEXMDM_BASE_URL"'
    url = base + shlex.quote(SECRETS.mask(path + query))
    # The line holds credentials: a proxy of the shell that it is pasted into must not see them.
    parts = [part for part in ("curl -sS -i --noproxy '*'", method_option, url) if part]
    for name, value in headers:
        variable = _VARIABLES.get(name.lower())
        # Double quotes: the shell fills the variable in.
        parts.append(f'-H "{name}: {variable}"' if variable else f"-H {shlex.quote(SECRETS.mask(f'{name}: {value}'))}")
    if content is not None:
        parts.append(f"--data-binary {_body(content)}")
    return " ".join(parts)


def _body(content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return f"@body.bin  # {len(content)} bytes that are not text"
    if len(text) > _LONGEST_BODY or "\0" in text:
        return f"@body.bin  # {len(content)} bytes, beginning with {SECRETS.mask(text[:200])!r}"
    return shlex.quote(SECRETS.mask(text))
