"""Locust's session as a harness transport. In a process of its own: importing locust patches the standard library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.tests.fronts import listening, make_authority, nexmdm

ROOT = Path(__file__).parents[3]

# A raw server that keeps what it was sent, and answers by the path: nothing, a redirect, an error, or the request.
SCRIPT = r"""
import gevent, json, sys
from gevent.server import StreamServer
from locust.contrib.fasthttp import FastHttpSession
from locust.event import EventHook
from load.locust_runner.transport import LocustTransport
from harness.http.transport import TransportError

seen = []
def serve(sock, address):
    with sock:
        raw = sock.recv(65536)
        seen.append(raw.decode("latin-1"))
        path = raw.split(b" ")[1]
        if path.startswith(b"/redirect"):
            sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n")
        elif path.startswith(b"/error"):
            sock.sendall(b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nX-Request-ID: r1\r\nContent-Length: 2\r\n\r\n{}")
        elif path.startswith(b"/short"):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}")
server = StreamServer(("127.0.0.1", 0), serve)
server.start()
url = f"http://127.0.0.1:{server.server_port}"
options = dict(request_event=EventHook(), user=None, network_timeout=5, connection_timeout=5, max_retries=0)
transport = LocustTransport(FastHttpSession(url, **options), url)

def outcome(*request, **more):
    del seen[:]
    try:
        answer = transport.send(*request, **more)
        told = {"status": answer.status, "headers": dict(answer.headers), "request_id": answer.request_id}
    except TransportError as error:
        told = {"lost": str(error)}
    gevent.sleep(0.2)
    return {**told, "seen": list(seen)}

found = {
    "silent": outcome("POST", "/silent", content=b"{}"),
    "short": outcome("POST", "/short", content=b"{}"),
    "redirect": outcome("GET", "/redirect"),
    "error": outcome("POST", "/error", content="\u00e9".encode(), headers=[("X-A", "1")], params={"a": "x y", "b": 1}),
}
server.stop()
found["refused"] = outcome("POST", "/silent", content=b"{}")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    outcomes: dict[str, Any] = json.loads(done.stdout)
    return outcomes


@pytest.mark.parametrize("case", ["silent", "short"])
def test_post_whose_answer_was_lost_is_not_sent_again(found: dict[str, Any], case: str) -> None:
    assert "lost" in found[case]
    assert len(found[case]["seen"]) == 1


def test_refused_connection_is_told_and_not_hidden(found: dict[str, Any]) -> None:
    assert "refused" in found["refused"]["lost"]


def test_redirect_is_an_answer_and_not_followed(found: dict[str, Any]) -> None:
    assert found["redirect"]["status"] == 302
    assert len(found["redirect"]["seen"]) == 1


def test_refusal_is_an_answer_with_its_headers(found: dict[str, Any]) -> None:
    assert (found["error"]["status"], found["error"]["request_id"]) == (503, "r1")
    assert found["error"]["headers"]["retry-after"] == "1"


def test_request_goes_out_as_it_was_given(found: dict[str, Any]) -> None:
    sent = found["error"]["seen"][0].encode("latin-1").decode()
    assert sent.startswith("POST /error?a=x+y&b=1 HTTP/1.1\r\n")
    assert "X-A: 1\r\n" in sent
    assert sent.endswith("\r\n\r\né")


SECURED = r"""
import sys
from locust.contrib.fasthttp import FastHttpSession
from locust.event import EventHook
from load.locust_runner.transport import LocustTransport, trusted
from harness.http.transport import HttpxTransport, TransportError

url = sys.argv[1]
options = dict(request_event=EventHook(), user=None, insecure=False, ssl_context_factory=trusted, max_retries=0)
transport = LocustTransport(FastHttpSession(url, **options), url)
for kind in transport, HttpxTransport(url):
    try:
        print(kind.send("GET", "/readyz").status)
    except TransportError as error:
        print("not trusted" if "CERTIFICATE_VERIFY_FAILED" in str(error) else error)
"""


def test_locust_trusts_whom_the_harness_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca_file, context = make_authority(tmp_path)
    with listening(nexmdm, context) as port:
        said = []
        for file in (None, str(ca_file)):
            if file is not None:
                monkeypatch.setenv("SSL_CERT_FILE", file)
            command = [sys.executable, "-c", SECURED, f"https://127.0.0.1:{port}"]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
            said.append(done.stdout.splitlines())
    assert said == [["not trusted"] * 2, ["200"] * 2]
