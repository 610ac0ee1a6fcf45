"""How a request travels: the Transport protocol, the Answer it returns, and the default transport on httpx.

It knows no credential and no path of the API. Load scenarios plug in a transport of their own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from harness.http import tls

Headers = Mapping[str, str] | Sequence[tuple[str, str]]
Params = Mapping[str, Any] | Sequence[tuple[str, Any]]


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. Header names are lower case; elapsed_ms runs until the whole body was read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    elapsed_ms: float
    request_id: str | None

    def json(self) -> Any:
        """The body as JSON. ValueError when it is none."""
        return json.loads(self.body)


class TransportError(Exception):
    """There was no HTTP answer: refused, reset, cut short or timed out."""


class Transport(Protocol):
    """Sends one request and returns the whole answer; never follows a redirect, never uses a proxy."""

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        content: bytes | None = None,
        params: Params | None = None,
    ) -> Answer:
        """path begins with "/"; raises TransportError when there is no whole HTTP answer."""
        ...


class HttpxTransport:
    """The default transport: httpx with keep-alive, HTTP/1.1, no proxy from the environment. Thread-safe."""

    def __init__(self, base_url: str, *, timeout_s: float = 30.0) -> None:
        """timeout_s: for connecting, and for each read and write."""
        self.base_url = base_url.rstrip("/")
        # A proxy of the environment would see every secret, and one on this machine would answer for the backend.
        # Without TLS the certificates of the system need not be loaded, which takes 20 ms.
        trusted = tls.context() if base_url.startswith("https:") else False
        self._client = httpx.Client(timeout=timeout_s, trust_env=False, follow_redirects=False, verify=trusted)

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        content: bytes | None = None,
        params: Params | None = None,
    ) -> Answer:
        """path begins with "/"; raises TransportError when there is no whole HTTP answer."""
        query = httpx.QueryParams(params if isinstance(params, Mapping) else list(params)) if params else None
        begun = time.perf_counter()
        try:
            response = self._client.request(
                method,
                self.base_url + path,
                headers=httpx.Headers(list(headers), encoding="latin-1"),
                content=content,
                params=query,
            )
        except httpx.TransportError as error:
            raise TransportError(f"{method} {path}: {error!r}") from error
        elapsed_ms = (time.perf_counter() - begun) * 1000
        received = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, received, response.content, elapsed_ms, received.get("x-request-id"))

    def close(self) -> None:
        """Close the kept connections."""
        self._client.close()
