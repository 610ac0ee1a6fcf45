"""Locust's HTTP session as a harness transport, so that the simulated device is the one that acceptance uses.

It retries nothing: a request that a client repeats on its own would be a heartbeat that nobody planned.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from urllib.parse import urlencode

import gevent.ssl
from locust.contrib.fasthttp import FastHttpSession

from harness.http import tls
from harness.http.transport import Answer, Params, TransportError


def trusted(cafile: str | None = None) -> gevent.ssl.SSLContext:  # noqa: ARG001  # geventhttpclient offers its own
    """The harness's TLS context on gevent's sockets, in place of the certificates that geventhttpclient brings."""
    context = tls.context(gevent.ssl.SSLContext)
    assert isinstance(context, gevent.ssl.SSLContext)
    return context


class LocustTransport:
    """Implements harness.http.client.Transport. Every request also shows in Locust's own statistics, under its path."""

    def __init__(self, session: FastHttpSession, base_url: str) -> None:
        self.base_url = base_url
        self._session = session
        session.client.redirect_response_codes = frozenset()  # type: ignore[misc]  # locust assigns it so itself

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        content: bytes | None = None,
        params: Params | None = None,
    ) -> Answer:
        query = urlencode(params, doseq=True) if params else ""
        url = f"{path}?{query}" if query else path
        started = time.perf_counter()
        try:
            response = self._session.request(
                method,
                url,
                name=path,
                data=content,  # type: ignore[arg-type]  # bytes go out as they are; the annotation knows only text
                headers=dict(headers),
            )
            body = bytes(response.content or b"")
        except (OSError, ValueError) as error:  # cut short while its body was read
            raise TransportError(f"{method} {path}: {error}") from error
        elapsed_ms = (time.perf_counter() - started) * 1000
        if not response.status_code:
            raise TransportError(f"{method} {path}: {getattr(response, 'error', 'no answer')!r}")
        received = {name.lower(): value for name, value in (response.headers or {}).items()}
        declared = received.get("content-length")
        plain = method != "HEAD" and response.status_code != 304 and "content-encoding" not in received
        if plain and declared is not None and declared != str(len(body)):
            # geventhttpclient hands a body that was cut short over as if it were whole.
            raise TransportError(f"{method} {path}: {len(body)} of {declared} bytes came")
        return Answer(response.status_code, received, body, elapsed_ms, received.get("x-request-id"))
