"""An S3 server (moto's) as a process of its own, with a control that says what goes wrong on the way to it.

Run alone: `python -m acceptance.system.s3` prints one JSON line {url} and serves until SIGTERM. Objects lie in memory.
"""

import argparse
import json
import signal
import socket
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from harness.fakes.control import Control
from harness.fakes.scripts import FIELDS, Answer, common, on_the_wire, take
from harness.processes.announcing import AnnouncingChild, announce
from harness.settings import SECRETS, HarnessError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Method = Literal["GET", "PUT", "POST"]  # read or list; store; delete
METHODS: Final[tuple[Method, ...]] = ("GET", "PUT", "POST")
BUCKET: Final = "nexmdm-objects"
_CONTROL: Final = "/_control/script"
_SECRET: Final = "of-the-harness-and-nobody-else"  # noqa: S105


class S3Error(HarnessError):
    """The S3 server did not start, or refused a control request."""


class S3Control(Control):
    """Steers a running S3 server."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "the S3 server", S3Error)

    def script(self, method: Method, *answers: dict[str, Any]) -> None:
        """What becomes of the next requests of this method; without answers what usually does.

        Each answer: status (default 200: S3's own answer) with body, delay_s (once the whole request has come), drop
        (no answer; half of the request is read, unless it has an effect), cut (half of the answer's body), effect
        (whether the request is carried out; default: where it is answered 200), times, every (as of other fakes).
        """
        self._call("POST", _CONTROL, {"method": method, "answers": on_the_wire(answers)})


class S3Server(AnnouncingChild):
    """The server as a child process of the harness, with an empty bucket. `.url`, `.control`."""

    @classmethod
    def start(cls, log_file: Path) -> "S3Server":
        """Start it on 127.0.0.1, and return when it answers. Raises S3Error."""
        server = cls("acceptance.system.s3", "the S3 server", error=S3Error, log=log_file)
        server.launch()
        server.url = server.wait_ready()["url"]
        server.control = S3Control(server.url)
        SECRETS.add(_SECRET)
        server.client.create_bucket(Bucket=BUCKET)
        return server

    url: str
    control: S3Control

    @property
    def env(self) -> dict[str, str]:
        """How a client gets here."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": "harness", "AWS_SECRET_ACCESS_KEY": _SECRET}

    @cached_property
    def client(self) -> Any:
        """A client that others have written."""
        import boto3  # type: ignore[import-untyped]  # noqa: PLC0415 - has no types; takes 0.3 s

        signs = {"aws_access_key_id": "harness", "aws_secret_access_key": _SECRET, "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.url, **signs)

    def keys(self, prefix: str) -> list[str]:
        """Every object below a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", ())]


@dataclass
class _Scripted(Answer):
    effect: bool = True

    @classmethod
    def parse(cls, answer: Any) -> "_Scripted":
        values = common(answer, FIELDS | {"effect"})
        return cls(**values, effect=answer.get("effect", values["status"] == 200))


class _Faults:
    """What stands before the server: it passes on what no script is for."""

    def __init__(self, server: "WSGIApplication") -> None:
        self._server = server
        self._scripts: dict[str, list[_Scripted]] = defaultdict(list)
        self._lock = threading.Lock()

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] == _CONTROL:
            asked = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            with self._lock:
                self._scripts[asked["method"]] = [_Scripted.parse(answer) for answer in asked["answers"]]
            start("200 OK", [("Content-Length", "2")])
            return [b"{}"]
        with self._lock:
            scripted = take(self._scripts[environ["REQUEST_METHOD"]])
        if scripted is None:
            return self._server(environ, start)
        return self._meet(scripted, environ, start)

    def _meet(self, scripted: _Scripted, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        from werkzeug.test import run_wsgi_app  # noqa: PLC0415 - in the server process alone

        size, connection = int(environ.get("CONTENT_LENGTH") or 0), environ["werkzeug.socket"]
        if scripted.drop and not scripted.effect:
            environ["wsgi.input"].read(size // 2)
            return _end(connection)
        environ["wsgi.input"] = BytesIO(environ["wsgi.input"].read(size))
        threading.Event().wait(scripted.delay_s)
        answer = run_wsgi_app(self._server, environ, buffered=True) if scripted.effect else None
        if scripted.drop:
            return _end(connection)
        if answer is None or scripted.status != 200:
            said = scripted.body or b""
            start(f"{scripted.status} Scripted", [("Content-Length", str(len(said)))])
            return [said]
        body, status, headers = answer
        content = b"".join(body)
        start(status, list(headers))
        return _half(content, connection) if scripted.cut else [content]


def _end(connection: socket.socket) -> list[bytes]:
    connection.shutdown(socket.SHUT_RDWR)
    return []


def _half(content: bytes, connection: socket.socket) -> Iterator[bytes]:
    yield content[: len(content) // 2]
    connection.shutdown(socket.SHUT_RDWR)


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    argparse.ArgumentParser(prog="python -m acceptance.system.s3", description=__doc__).parse_args()
    # Only the server process needs them, and they take 0.5 s to import.
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415

    moto = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, _Faults(moto), threaded=True, request_handler=MotoRequestHandler)
    announce(url=f"http://127.0.0.1:{server.server_port}")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()


if __name__ == "__main__":
    main()
