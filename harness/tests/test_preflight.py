"""A given deployment that cannot be tested is one line that names the variable. ci/tests/ runs the real commands."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness import preflight
from harness.http import tls
from harness.http.client import Client
from harness.http.transport import HttpxTransport
from harness.settings import SettingsError, Target
from harness.tests.fronts import (
    KEY,
    READY,
    SECRET,
    Serve,
    answering,
    listening,
    make_authority,
    nexmdm,
    recording_proxy,
    reply,
    silent,
    tls_before,
)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(preflight, "PATIENCE_S", 1.0)


@pytest.fixture
def target() -> Iterator[Target]:
    with listening(nexmdm) as port:
        yield Target(f"http://127.0.0.1:{port}", KEY, SECRET)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return make_authority(tmp_path_factory.mktemp("ca"))


def refused(target: Target) -> str:
    with pytest.raises(SettingsError) as caught:
        preflight.check(target)
    said = str(caught.value)
    assert "\n" not in said
    assert KEY not in said
    assert SECRET not in said
    return said


def test_a_deployment_that_can_be_tested(target: Target) -> None:
    preflight.check(target)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"admin_key": "x" * 20}, "NEXMDM_ADMIN_KEY: the deployment refuses it (403 admin_required)"),
        ({"hmac_secret": "x" * 20}, "NEXMDM_HMAC_SECRET: the deployment refuses the signature (403 signature_invalid)"),
        ({"base_url": "http://127.0.0.1:9"}, "NEXMDM_BASE_URL: http://127.0.0.1:9 cannot be reached"),
        ({"base_url": "http://nowhere.test"}, "NEXMDM_BASE_URL: http://nowhere.test cannot be reached"),
        ({"database_url": "postgresql://x@127.0.0.1:9/x"}, "DATABASE_URL: connection failed"),
        ({"log_file": Path("/nowhere")}, "NEXMDM_LOG_FILE: /nowhere cannot be read"),
        (
            {"provider_control_url": "http://127.0.0.1:9"},
            "NEXMDM_PROVIDER_CONTROL_URL: the fake provider at http://127.0.0.1:9 does not answer",
        ),
        ({"fcm_url": "http://127.0.0.1:9"}, "NEXMDM_FCM_URL: the fake FCM at http://127.0.0.1:9 does not answer"),
        ({"backend_pid": 2**22 + 1}, "NEXMDM_BACKEND_PID: there is no process 4194305"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_named(target: Target, wrong: dict[str, object], said: str) -> None:
    assert refused(replace(target, **wrong)).startswith(said)  # type: ignore[arg-type]  # one field of several kinds


@pytest.mark.parametrize(
    "serve, said",
    [
        (answering(reply(404, b"")), r"GET /readyz answered 404: \S+ is not the root of a NexMDM"),
        (answering(reply(200, b"<html>")), r"GET /readyz answered 200, but not as NexMDM does: "),
        (answering(reply(200, b'["ready"]')), r"GET /readyz answered 200, but not as NexMDM does: "),
        (answering(reply(503, b"<html>")), r"GET /readyz answered 503: \S+ is not the root"),
        (answering(reply(503, b'{"code":"not_ready"}')), r"answered 503 not_ready: the deployment is not ready"),
        (answering(reply(301, b"", "Location: https://x.test/")), r"redirects to https://x\.test/; give the address"),
        (answering(b"SSH-2.0-OpenSSH_9.2\r\n"), r"cannot be reached \(Server disconnected"),
        (silent, r"does not answer within 1 s"),
    ],
    ids=["404", "html", "list", "proxy-503", "not-ready", "redirect", "ssh", "silent"],
)
def test_what_is_no_nexmdm_is_told_from_one(serve: Serve, said: str) -> None:
    with listening(serve) as port:
        found = refused(Target(f"http://127.0.0.1:{port}", KEY, SECRET))
    assert re.search(said, found), found


def test_an_expired_signature_is_the_clocks(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "sign", lambda *_: "sha256=0")
    with listening(_expired) as port:
        assert "the clocks here and there differ" in refused(replace(target, base_url=f"http://127.0.0.1:{port}"))


def _expired(client: socket.socket) -> None:
    line = client.recv(65536).partition(b"\r\n")[0]
    expired = reply(403, b'{"code":"signature_expired"}')
    client.sendall(expired if line.startswith(b"POST") else reply(200, READY))


def test_tls_is_trusted_by_the_file_that_is_named(
    target: Target, authority: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    ca_file, context = authority
    with tls_before(target.base_url, context) as url:
        secured = replace(target, base_url=url)
        assert "the certificate of 127.0.0.1 is not trusted (" in refused(secured)
        assert refused(secured).endswith("SSL_CERT_FILE names the file of its CA")
        monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
        preflight.check(secured)
        assert tls.authorities() == str(ca_file)
        with tls.connect(url, 5.0) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(15) == b"HTTP/1.1 200 Wh"
        monkeypatch.setenv("SSL_CERT_FILE", str(ca_file.with_name("none.pem")))
        assert refused(secured) == f"SSL_CERT_FILE: {ca_file.with_name('none.pem')} cannot be read"


def test_the_wrong_scheme_is_named(target: Target, authority: tuple[Path, ssl.SSLContext]) -> None:
    plain = target.base_url.replace("http:", "https:")
    assert "no TLS at https://127.0.0.1" in refused(replace(target, base_url=plain))
    with tls_before(target.base_url, authority[1]) as url:
        said = refused(replace(target, base_url=url.replace("https:", "http:")))
        assert said == f"NEXMDM_BASE_URL: {url.removeprefix('https://')} speaks TLS; write {url}"


def test_no_proxy_of_the_environment_sees_a_request(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    with recording_proxy() as (proxy, seen):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        preflight.check(target)
        assert seen == []
        # The control: a client that obeys the environment does reach this proxy.
        import httpx

        with httpx.Client() as client:
            client.get(target.base_url)
        assert len(seen) == 1


def test_what_the_launcher_has_checked_is_not_asked_again(target: Target) -> None:
    env = replace(target, base_url="http://127.0.0.1:9").as_env()
    with pytest.raises(SettingsError):
        preflight.given_target(env)
    assert preflight.given_target(env | {preflight.CHECKED: "http://127.0.0.1:9"}).base_url == "http://127.0.0.1:9"
    with pytest.raises(SettingsError):
        preflight.given_target(env | {preflight.CHECKED: target.base_url})


def test_a_suite_of_its_own_stacks_refuses_a_target() -> None:
    preflight.refuse_given("bench", {})
    with pytest.raises(SettingsError, match="NEXMDM_BASE_URL: set, but bench starts stacks of its own"):
        preflight.refuse_given("bench", {"NEXMDM_BASE_URL": "http://127.0.0.1:9"})


def test_the_transport_verifies_by_the_same_context(
    target: Target, authority: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    ca_file, context = authority
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    with tls_before(target.base_url, context) as url:
        transport = HttpxTransport(url)
        assert transport.send("GET", "/readyz").body == READY
        transport.close()
