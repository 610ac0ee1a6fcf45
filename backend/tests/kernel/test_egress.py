"""The way out: proxy and certificates of the environment, for the token call and for the send alike."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from nexmdm.fleet import fcm
from nexmdm.kernel.egress import proxy_for, transport_to

FCM = "https://fcm.googleapis.com"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    "variables,proxy",
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "http://proxy:3128"),
        ({"ALL_PROXY": "http://user:pass@[::1]:3128/"}, "http://user:pass@[::1]:3128/"),
        ({"HTTPS_PROXY": "https://one", "ALL_PROXY": "http://another"}, "https://one"),
        ({"HTTP_PROXY": "http://proxy:3128"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".googleapis.com"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "*"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "example.com"}, "http://proxy:3128"),
    ],
)
def test_the_proxy_is_the_environments(
    environment: pytest.MonkeyPatch, variables: dict[str, str], proxy: str | None
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    assert proxy_for(FCM) == proxy


@pytest.mark.parametrize(
    "value", ["socks5://u:secret@proxy:1080", "ftp://secret", "http://", "secret:port", "http://a b"]
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY"])
def test_a_proxy_that_is_none_is_named_without_its_value(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(ValueError, match=f"^{name}: must be") as refused:
        proxy_for(FCM)
    assert "secret" not in str(refused.value)


@pytest.fixture
async def proxy() -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy that notes the first line of each request and refuses it."""
    lines: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append((await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[0])
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", lines


async def test_a_send_over_https_asks_the_proxy_for_a_tunnel(
    environment: pytest.MonkeyPatch, proxy: tuple[str, list[str]]
) -> None:
    url, lines = proxy
    environment.setenv("HTTPS_PROXY", url)
    client = fcm._Client(FCM)
    exchange = fcm._Exchange("t")
    fcm._exchange.set(exchange)
    with pytest.raises(Exception, match="403"):
        await client.request("post", FCM, headers={}, json={})
    await client.aclose()
    assert lines == ["CONNECT fcm.googleapis.com:443 HTTP/1.1"]
    assert (exchange.status, exchange.failure) == (None, "ProxyError")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Of 127.0.0.1, issued by itself; and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=True)
        .sign(key, hashes.SHA256())
    )
    shown, kept = tmp_path / "certificate.pem", tmp_path / "key.pem"
    shown.write_bytes(made.public_bytes(Encoding.PEM))
    kept.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return shown, kept


@pytest.mark.parametrize(
    "scheme,named,trusted", [("https", True, True), ("https", False, False), ("http", True, False)]
)
async def test_who_is_trusted_over_https_is_the_environments_and_nobody_for_a_client_of_http(
    environment: pytest.MonkeyPatch, certificate: tuple[Path, Path], scheme: str, named: bool, trusted: bool
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    if named:
        environment.setenv("SSL_CERT_FILE", str(certificate[0]))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        where = f"://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with httpx.AsyncClient(transport=transport_to(scheme + where)) as client:
            if trusted:
                assert (await client.get("https" + where)).status_code == 204
            else:
                with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                    await client.get("https" + where)
