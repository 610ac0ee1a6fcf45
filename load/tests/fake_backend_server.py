"""The stand-in behind a real socket: a process that can be stopped and killed. It announces its URL, and serves."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness.processes.announcing import announce
from load.tests.fake_backend import StandIn

standin = StandIn(float(sys.argv[1]))
turn = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def _answer(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        with turn:
            answer = standin.send(
                self.command, self.path.partition("?")[0], headers=self.headers.items(), content=content
            )
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = _answer  # noqa: N815  # http.server looks for these names

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # what knocks while we are stopped must wait, and not be refused


server = Server(("127.0.0.1", 0), Handler)
announce(url=f"http://127.0.0.1:{server.server_port}")
server.serve_forever()
