"""The client: what it sends, what it records, and the curl lines that it shows.

It talks to a recording transport, and over a socket only where httpx itself is the subject.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from harness.http.client import Answer, Client, HttpxTransport, TransportError, encode
from harness.http.transport import Params

ADMIN_KEY, HMAC_SECRET = "the-admin-key-0123456789", "the-hmac-secret-0123456789"
DEVICE_TOKEN = "a-device-token-of-no-known-shape"


class Recording:
    """A transport that remembers what it should have sent."""

    def __init__(self, status: int = 200, *, broken: bool = False) -> None:
        self.status = status
        self.broken = broken
        self.sent: list[dict[str, Any]] = []

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        content: bytes | None = None,
        params: Params | None = None,
    ) -> Answer:
        if self.broken:
            raise TransportError("connection refused")
        self.sent.append(
            {"method": method, "path": path, "headers": list(headers), "content": content, "params": params}
        )
        return Answer(self.status, {"x-request-id": "r1"}, b'{"ok":true}', 1.0, "r1")

    def headers(self) -> dict[str, str]:
        return dict(self.sent[-1]["headers"])


@pytest.fixture
def wire() -> Recording:
    return Recording()


@pytest.fixture
def client(wire: Recording) -> Client:
    return Client(wire, ADMIN_KEY, HMAC_SECRET)


def test_every_request_has_a_request_id_of_its_own(client: Client, wire: Recording) -> None:
    client.request("GET", "/healthz")
    first = wire.headers()["X-Request-ID"]
    client.request("GET", "/healthz")
    assert wire.headers()["X-Request-ID"] != first
    client.request("GET", "/healthz", request_id="mine")
    assert wire.headers()["X-Request-ID"] == "mine"
    client.request("GET", "/healthz", headers={"x-request-id": "theirs"})
    assert [value for name, value in wire.sent[-1]["headers"] if name.lower() == "x-request-id"] == ["theirs"]


def test_json_is_sent_compact_and_a_given_content_type_stays(client: Client, wire: Recording) -> None:
    client.request("POST", "/v1/heartbeat", json={"status": "ok", "text": "ü"})
    assert wire.sent[-1]["content"] == '{"status":"ok","text":"ü"}'.encode()
    assert wire.headers()["Content-Type"] == "application/json"
    client.request("POST", "/v1/heartbeat", json={}, headers={"content-type": "text/plain"})
    assert [value for name, value in wire.sent[-1]["headers"] if name.lower() == "content-type"] == ["text/plain"]


def test_two_bodies_at_once_and_values_that_json_lacks_are_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="not both"):
        client.request("POST", "/v1/heartbeat", json={}, content=b"{}")
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode({"temp_c": float("nan")})


def test_no_credential_goes_where_none_was_asked_for(client: Client, wire: Recording) -> None:
    client.request("POST", "/admin/command", json={})
    assert not {"X-Admin", "X-Signature", "Authorization"} & set(wire.headers())


def test_admin_and_bearer_add_theirs_and_keep_more_headers(client: Client, wire: Recording) -> None:
    client.admin("GET", "/metrics", headers={"Accept": "text/plain"})
    assert wire.headers()["X-Admin"] == ADMIN_KEY
    assert wire.headers()["Accept"] == "text/plain"
    client.bearer(DEVICE_TOKEN, "POST", "/v1/heartbeat", json={})
    assert wire.headers()["Authorization"] == f"Bearer {DEVICE_TOKEN}"
    client.bearer("", "POST", "/v1/heartbeat", json={})
    assert wire.headers()["Authorization"] == "Bearer "


def test_a_command_is_signed_over_the_very_bytes_that_are_sent(client: Client, wire: Recording) -> None:
    client.command({"device_id": "d", "action": "ping"}, timestamp=1700000000)
    content = wire.sent[-1]["content"]
    expected = hmac.new(HMAC_SECRET.encode(), b"1700000000." + content, hashlib.sha256).hexdigest()
    assert wire.headers()["X-Signature"] == f"sha256={expected}"
    assert wire.headers()["X-Timestamp"] == "1700000000"
    assert json.loads(content) == {"device_id": "d", "action": "ping"}
    client.command(raw=b"{ }", timestamp=1700000000)
    assert wire.sent[-1]["content"] == b"{ }"
    assert wire.headers()["X-Signature"] == client.sign(1700000000, b"{ }") != f"sha256={expected}"


def test_a_command_can_be_sent_wrong_on_purpose(client: Client, wire: Recording) -> None:
    client.command({}, signature="sha256=00", timestamp="yesterday", headers={"x-admin-note": "n", "X-Signature": "x"})
    assert [value for name, value in wire.sent[-1]["headers"] if name == "X-Signature"] == ["x"]
    assert wire.headers()["X-Timestamp"] == "yesterday"


def test_the_curl_line_shows_the_request_and_no_secret(client: Client) -> None:
    client.command({"note": f"the key is {ADMIN_KEY}", "quote": "it's"}, timestamp=1)
    client.bearer(DEVICE_TOKEN, "POST", "/v1/register", json={"token": DEVICE_TOKEN}, params={"q": HMAC_SECRET})
    command, register = (exchange.curl for exchange in client.exchanges)
    for secret in (ADMIN_KEY, HMAC_SECRET, DEVICE_TOKEN, client.sign(1, b"")[7:20]):
        assert secret not in command + register
    assert '-H "X-Admin: $NEXMDM_ADMIN_KEY"' in command
    assert '-H "X-Signature: $SIGNATURE"' in command
    assert '-H "Authorization: Bearer $TOKEN"' in register
    # A proxy of the shell that the line is pasted into must see no key.
    assert command.startswith("curl -sS -i --noproxy '*' -X POST \"$NEXMDM_BASE_URL\"/admin/command ")


def test_a_curl_line_is_one_that_a_shell_understands(client: Client) -> None:
    client.request("POST", "/v1/heartbeat", json={"note": "it's; $(rm) `x`"}, headers={"X-Request-ID": "a b"})
    words = subprocess.run(
        ["sh", "-c", f"NEXMDM_BASE_URL=http://h; printf '%s\\n' {client.exchanges[0].curl}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert words[7] == "http://h/v1/heartbeat"
    assert "X-Request-ID: a b" in words
    assert words[-1] == '{"note":"it\'s; $(rm) `x`"}'


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 3000, b"a\0b"])
def test_a_body_that_no_shell_can_hold_is_only_described(client: Client, content: bytes) -> None:
    client.request("POST", "/v1/apk/builds", content=content)
    assert f"# {len(content)} bytes" in client.exchanges[-1].curl


def test_exchanges_are_the_last_ones_and_failures_are_among_them() -> None:
    broken = Client(Recording(broken=True), keep=2)
    for path in ("/a", "/b", "/c"):
        with pytest.raises(TransportError):
            broken.request("GET", path)
    assert [exchange.path for exchange in broken.exchanges] == ["/b", "/c"]
    assert broken.exchanges[0].answer is None


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
            return
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("Location", "/elsewhere")
        self.send_header("X-Request-ID", "from-the-server")
        body = json.dumps({"path": self.path, "names": list(self.headers)}).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as served:
        served.daemon_threads = True
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_over_httpx_an_answer_is_whole_and_redirects_are_not_followed(server: str) -> None:
    transport = HttpxTransport(server)
    answer = transport.send("GET", "/v1/devices", params=[("limit", 1), ("limit", 2)])
    assert answer.json()["path"] == "/v1/devices?limit=1&limit=2"
    assert answer.request_id == answer.headers["x-request-id"] == "from-the-server"
    assert answer.elapsed_ms > 0
    assert transport.send("GET", "/moved").status == 302
    transport.close()


def test_over_httpx_a_proxy_of_the_environment_is_ignored(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    transport = HttpxTransport(server)
    assert transport.send("GET", "/").status == 200
    transport.close()


def test_over_httpx_no_answer_and_half_an_answer_are_transport_errors(server: str) -> None:
    for base_url, path in ((server, "/cut"), ("http://127.0.0.1:9", "/")):
        transport = HttpxTransport(base_url, timeout_s=5)
        with pytest.raises(TransportError, match=f"^GET {path}: "):
            transport.send("GET", path)
        transport.close()
