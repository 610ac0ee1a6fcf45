"""A forward HTTP proxy that writes down what goes through it, for cases about an egress proxy.

It passes plain HTTP on, and refuses every CONNECT: nothing leaves this machine through it.
"""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "proxy-connection", "keep-alive", "transfer-encoding", "proxy-authorization"}
_TIMEOUT_S = 30.0


class RecordingProxy:
    """The proxy in threads of this process. `.url` is its address; `.requests` holds (method, target) of each request.

    target is what a client writes to a proxy: the whole URL, or HOST:PORT for a CONNECT.
    """

    def __init__(self) -> None:
        """Use `with RecordingProxy() as proxy`."""
        self.requests: list[tuple[str, str]] = []
        requests = self.requests

        class Handler(_Handler):
            seen = requests

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str]]

    def do_CONNECT(self) -> None:
        self.seen.append((self.command, self.path))
        self._answer(403, {}, b"")

    def do_POST(self) -> None:
        self.seen.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        target = urlsplit(self.path)
        given = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        try:
            connection = http.client.HTTPConnection(target.netloc, timeout=_TIMEOUT_S)
            try:
                connection.request(self.command, target.path, body, given)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException):
            self._answer(502, {}, b"")
            return
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
        self._answer(answer.status, headers, content)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr: `requests` is the record."""
