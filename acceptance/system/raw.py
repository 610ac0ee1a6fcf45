"""Requests as exact bytes to the shared system, each answer of which is judged against openapi.yaml.

Does not know any credential: headers go out as they are given.
"""

from dataclasses import dataclass

from acceptance.system.api import Api
from harness.http.client import Answer
from harness.http.raw_http import Sockets, request


@dataclass(frozen=True)
class Raw:
    """Sends one request over a connection of its own, past what an HTTP client would repair."""

    api: Api

    def __call__(
        self, line: str, *headers: tuple[str, str], body: bytes = b"", length: int | bool = True, chunks: int = 0
    ) -> Answer:
        """line: method and target; the rest as harness.http.raw_http.request takes it."""
        # Without `Connection: close`, which would keep a heartbeat off the fast way.
        method, _, target = line.partition(" ")
        sent = request(line, *headers, body=body, length=length, chunks=chunks)
        answer = Sockets(self.api.base_url).ask(sent, to_head=method == "HEAD")
        return self.api.take(method, target, answer)
