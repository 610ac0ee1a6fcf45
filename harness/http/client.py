"""An HTTP client for the NexMDM API: credentials, signing, curl lines for failures.

It judges no answer: a refused request is an Answer like any other, and asserting is the caller's.
Safe under gevent and threads when its transport is.
"""

from __future__ import annotations

import hashlib
import hmac
import json as json_module
import time
import uuid
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any

from harness.http.curl import Exchange, curl_line
from harness.http.transport import Answer, Headers, HttpxTransport, Params, Transport, TransportError
from harness.settings import SECRETS

__all__ = ["Answer", "Client", "Exchange", "HttpxTransport", "Transport", "TransportError"]

COMMAND_PATH = "/admin/command"


class Client:
    """The API as one caller sees it. Every request carries an X-Request-ID; all secrets are masked in `.exchanges`."""

    def __init__(
        self,
        transport: Transport | str,
        admin_key: str = "",
        hmac_secret: str = "",
        *,
        keep: int = 20,
    ) -> None:
        """transport: one, or a base URL; keep: how many exchanges to remember."""
        self.base_url = transport if isinstance(transport, str) else getattr(transport, "base_url", "")
        self.transport = HttpxTransport(transport) if isinstance(transport, str) else transport
        self._admin_key = admin_key
        self._hmac_secret = hmac_secret
        self._exchanges: deque[Exchange] = deque(maxlen=keep)
        SECRETS.add(*filter(None, (admin_key, hmac_secret)))

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Headers = (),
        json: Any = None,
        content: bytes | None = None,
        params: Params | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """Send as it stands: no credential is added. json: sent as application/json; content: raw bytes instead.

        Headers given by the caller win over Content-Type and X-Request-ID. TransportError: there was no answer.
        """
        given = _pairs(headers)
        names = {name.lower() for name, _ in given}
        if json is not None:
            if content is not None:
                raise ValueError("json or content, not both")
            content = encode(json)
            if "content-type" not in names:
                given.append(("Content-Type", "application/json"))
        if "x-request-id" not in names:
            given.append(("X-Request-ID", request_id or f"harness-{uuid.uuid4().hex}"))
        answer: Answer | None = None
        try:
            answer = self.transport.send(method, path, headers=given, content=content, params=params)
        finally:
            sent_id = next(value for name, value in given if name.lower() == "x-request-id")
            line = partial(curl_line, self.base_url, method, path, given, content, params)
            self._exchanges.append(Exchange(method, path, sent_id, answer, line))
        return answer

    def admin(self, method: str, path: str, *, headers: Headers = (), **request: Any) -> Answer:
        """The same with X-Admin."""
        return self.request(method, path, headers=[("X-Admin", self._admin_key), *_pairs(headers)], **request)

    def bearer(self, token: str, method: str, path: str, *, headers: Headers = (), **request: Any) -> Answer:
        """The same with `Authorization: Bearer <token>`; the token is masked from now on."""
        if len(token) >= SECRETS.SHORTEST:
            SECRETS.add(token)
        return self.request(method, path, headers=[("Authorization", f"Bearer {token}"), *_pairs(headers)], **request)

    def command(
        self,
        body: Any = None,
        *,
        timestamp: int | str | None = None,
        signature: str | None = None,
        raw: bytes | None = None,
        headers: Headers = (),
        **request: Any,
    ) -> Answer:
        """POST /admin/command with X-Admin, X-Timestamp and X-Signature; any of them can be given as a wrong one.

        raw: the body's bytes instead of `body` as JSON; timestamp: unix seconds, default now; signature: instead of
        the right one.
        """
        content = raw if raw is not None else encode(body)
        at = timestamp if timestamp is not None else int(time.time())
        signed = [
            ("X-Timestamp", str(at)),
            ("X-Signature", signature if signature is not None else self.sign(at, content)),
            ("Content-Type", "application/json"),
        ]
        given = _pairs(headers)
        replaced = {name.lower() for name, _ in given}
        kept = [pair for pair in signed if pair[0].lower() not in replaced]
        return self.admin("POST", COMMAND_PATH, content=content, headers=[*kept, *given], **request)

    def sign(self, timestamp: int | str, raw: bytes) -> str:
        """`sha256=` + hex HMAC-SHA256(secret, timestamp + "." + raw body)."""
        message = f"{timestamp}.".encode() + raw
        return "sha256=" + hmac.new(self._hmac_secret.encode(), message, hashlib.sha256).hexdigest()

    @property
    def exchanges(self) -> list[Exchange]:
        """The last requests, oldest first."""
        return list(self._exchanges)


def encode(body: Any) -> bytes:
    """JSON as the client sends it: compact, UTF-8. ValueError for NaN and Infinity, which JSON does not have."""
    return json_module.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _pairs(headers: Headers) -> list[tuple[str, str]]:
    return list(headers.items()) if isinstance(headers, Mapping) else list(headers)
