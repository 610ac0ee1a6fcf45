"""A service that checks nothing: every operation answers its first success example of openapi.yaml, to anybody.

It is what the gates must turn red on. It keeps no state.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from harness.http.openapi import Document, Operation
from harness.settings import Target

LARGEST_BODY_BYTES = 10_000_000


class Stub:
    """What the stub answers: operation by method and path, then status, headers and body of its first success."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.operations = list(document.operations())

    def operation(self, method: str, path: str) -> Operation | None:
        known = (one for one in self.operations if one.method == method.lower() and one.pattern.fullmatch(path))
        return next(known, None)

    def answer(self, operation: Operation) -> tuple[int, dict[str, str], bytes]:
        status = min(status for status in operation.statuses if status.startswith("2"))
        response = self.document.responses(operation)[status]
        headers = {
            name: str(header["example"])
            for name, header in ((n, self.document.resolve(h)) for n, h in response.get("headers", {}).items())
            if header.get("required") and name != "Content-Length"
        }
        example = self.document.example(operation.id, status)
        if example is None:
            return int(status), headers, b""
        media_type, value = example
        text = value if isinstance(value, str) else json.dumps(value)
        return int(status), {**headers, "Content-Type": media_type}, text.encode()


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self._any
            raise AttributeError(name)

        def _any(self) -> None:
            # A body that is only announced would never come.
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length if length < LARGEST_BODY_BYTES else 0)
            operation = stub.operation(self.command, self.path.partition("?")[0])
            status, headers, body = stub.answer(operation) if operation else (404, dict[str, str](), b"")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
            """Say nothing."""

    return Handler


@contextmanager
def running(document: Document | None = None) -> Iterator[Target]:
    """The stub on a free port of 127.0.0.1, as a target."""
    handler = _handler(Stub(document or Document.read()))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Target(f"http://127.0.0.1:{server.server_address[1]}", "stub-admin-key-0000", "stub-hmac-secret-00")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
