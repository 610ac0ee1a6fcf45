"""The side of a fake's control that a suite holds. Standard-library HTTP only: safe under gevent and threads."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from harness.settings import HarnessError


class Control:
    """Calls the control of a running fake. what: how errors call it; error: what is raised."""

    def __init__(self, url: str, what: str, error: type[HarnessError], *, timeout_s: float = 10.0) -> None:
        self.url = url.rstrip("/")
        self._what, self._error = what, error
        self._address = urlsplit(url).netloc
        self._timeout_s = timeout_s

    def _call(self, method: str, path: str, body: Any = None, *, extra_s: float = 0.0) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._address, timeout=self._timeout_s + extra_s)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise self._error(f"{self._what} at {self.url} does not answer: {error!r}") from None
        finally:
            connection.close()
        if answer.status != 200:
            raise self._error(f"{self._what} refused {method} {path}: {answer.status} {text[:500]}")
        value: dict[str, Any] = json.loads(text)
        return value
