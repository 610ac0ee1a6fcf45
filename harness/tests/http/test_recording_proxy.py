"""The recording proxy: it passes HTTP on and writes it down, and lets nothing out through a tunnel."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest

from harness.fcm.server import FcmServer
from harness.http.recording_proxy import RecordingProxy


def test_what_goes_through_is_written_down() -> None:
    with FcmServer.start() as server, RecordingProxy() as proxy:
        connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=5)
        for _ in range(2):  # one connection for both
            connection.request("POST", f"{server.url}/token", b"grant_type=password")
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())["error"]) == (400, "unsupported_grant_type")
        connection.close()
        assert proxy.requests == [("POST", f"{server.url}/token")] * 2


def test_a_target_that_is_away_is_a_502() -> None:
    with RecordingProxy() as proxy:
        connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=5)
        connection.request("POST", "http://127.0.0.1:1/", b"")
        assert connection.getresponse().status == 502
        connection.close()


def test_a_tunnel_is_refused_and_written_down() -> None:
    with RecordingProxy() as proxy:
        connection = http.client.HTTPSConnection(urlsplit(proxy.url).netloc, timeout=5)
        connection.set_tunnel("fcm.googleapis.com", 443)
        with pytest.raises(OSError, match="403"):
            connection.request("GET", "/")
        assert proxy.requests == [("CONNECT", "fcm.googleapis.com:443")]
