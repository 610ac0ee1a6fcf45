"""A stand-in for the `nexmdm` command: as small as can be, and on demand as ill-behaved as a process can be.

It implements nothing of the API: it serves the tests of the launcher.
Behaviour, by the environment variable STAND_IN (several, joined by commas):
die, die_on_migrate, no_port, never_ready, slow_start, hang_on_migrate, plain_text_log, ignore_sigterm, child, orphan
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODES = set(os.environ.get("STAND_IN", "").split(","))


def log(event: str, **fields: Any) -> None:
    line = {"ts": "2026-01-01T00:00:00Z", "level": "info", "event": event, "request_id": None, "route": "server"}
    sys.stdout.write(json.dumps(line | fields) + "\n")
    sys.stdout.flush()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status = 503 if self.path == "/readyz" and "never_ready" in MODES else 200
        body = json.dumps({"path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Request-ID", self.headers.get("X-Request-ID", "none"))
        self.end_headers()
        self.wfile.write(body)
        log("http.request", request_id=self.headers.get("X-Request-ID"), path=self.path)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Our log is JSON."""


def serve() -> None:
    if "die" in MODES:
        log("about.to.die", detail="the last line of the log")
        sys.exit("the last line of stderr")
    if "slow_start" in MODES:
        threading.Event().wait()
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["NEXMDM_PORT"])), Handler)
    if "ignore_sigterm" in MODES:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if "child" in MODES:
        subprocess.Popen(["sleep", "3600"])
    if "orphan" in MODES:
        subprocess.Popen(["sleep", "3600"], start_new_session=True)
    if "plain_text_log" in MODES:
        print("Traceback (most recent call last):", flush=True)
    if "no_port" not in MODES:
        log("service.start", pid=os.getpid(), role="web", port=server.server_port)
    server.serve_forever()


def main() -> None:
    if sys.argv[1:2] == ["migrate"]:
        if "die_on_migrate" in MODES:
            sys.exit("no such revision")
        if "hang_on_migrate" in MODES:
            threading.Event().wait()
    elif sys.argv[1:2] == ["serve"]:
        serve()
    elif sys.argv[1:4] == ["platform", "init", "--file"]:
        Path(sys.argv[4]).write_text(
            "NEXUS_URL=http://127.0.0.1:8080\nNEXUS_API_KEY=nxk_of-a-stand-in\n", encoding="utf-8"
        )
    else:
        print(json.dumps({"argv": sys.argv[1:], "database": "NEXMDM_DATABASE_URL" in os.environ}))


if __name__ == "__main__":
    main()
