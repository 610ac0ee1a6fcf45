"""What stands before a service in the tests: TLS with a private CA, a proxy that notes whoever calls, odd servers."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import hmac
import ipaddress
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

KEY, SECRET = "an-admin-key-of-some-length", "a-secret-of-some-length"
READY = b'{"status":"ready","database":"ok","migrations":"head"}'
Serve = Callable[[socket.socket], None]


def make_authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A CA of our own, as a file to trust, and the context of a server of 127.0.0.1 that it has signed."""
    now = dt.datetime.now(dt.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a private CA")])

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )

    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    ca = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    served = (
        builder(x509.Name([]), key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    ca_file, own = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(ca.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    own.write_bytes(private + served.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    return ca_file, context


@contextlib.contextmanager
def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server on a free port of 127.0.0.1, a thread for each connection; gives the port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            # A connection that is lost is no event for a front.
            with contextlib.suppress(OSError):
                if tls is None:
                    serve(self.request)
                else:
                    with tls.wrap_socket(self.request, server_side=True) as secured:
                        serve(secured)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, block_on_close, request_queue_size = True, False, 1024

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def tls_before(url: str, tls: ssl.SSLContext) -> Iterator[str]:
    """TLS that ends here, its bytes passed on to the service; gives the https:// address."""
    address = urlsplit(url)

    def serve(client: socket.socket) -> None:
        with socket.create_connection((address.hostname or "", address.port or 80)) as service:
            _relay(client, service)

    with listening(serve, tls) as port:
        yield f"https://127.0.0.1:{port}"


def _relay(client: socket.socket, service: socket.socket) -> None:
    """Until the service closes. What it can no longer be sent is read all the same: the client must see its answer."""
    assert isinstance(client, ssl.SSLSocket)
    reads = [client, service]
    while True:
        ready = [client] if client.pending() else select.select(reads, [], [])[0]
        if service in ready:
            answer = service.recv(65536)
            if not answer:
                return
            client.sendall(answer)
        elif client in ready:
            asked = client.recv(65536)
            with contextlib.suppress(OSError):
                service.sendall(asked) if asked else service.shutdown(socket.SHUT_WR)
            if not asked:
                reads.remove(client)


@contextlib.contextmanager
def recording_proxy() -> Iterator[tuple[str, list[str]]]:
    """A proxy that lets nobody through: its address, and the first line of each request that reaches it."""
    seen: list[str] = []

    def serve(client: socket.socket) -> None:
        seen.append(client.recv(65536).partition(b"\r\n")[0].decode(errors="replace"))
        client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with listening(serve) as port:
        yield f"http://127.0.0.1:{port}", seen


def answering(answer: bytes) -> Serve:
    """Gives this answer to every request and hangs up."""

    def serve(client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(answer)

    return serve


def silent(client: socket.socket) -> None:
    """Reads and says nothing."""
    while client.recv(65536):
        pass


def reply(status: int, body: bytes, *headers: str) -> bytes:
    """The bytes of an answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def nexmdm(client: socket.socket) -> None:
    """As much of a NexMDM, with KEY and SECRET, as the preflight looks at."""
    received = client.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += client.recv(65536)
    answer = reply(404, b"")
    if line.startswith("GET /readyz "):
        answer = reply(200, READY)
    elif headers.get("x-admin") != KEY:
        answer = reply(403, b'{"code":"admin_required"}')
    elif line.startswith("GET /v1/devices?"):
        answer = reply(200, b'{"items":[],"next_cursor":null}')
    elif line.startswith("POST /admin/command "):
        message = headers["x-timestamp"].encode() + b"." + body
        right = "sha256=" + hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest() == headers["x-signature"]
        answer = reply(422, b'{"code":"invalid"}') if right else reply(403, b'{"code":"signature_invalid"}')
    client.sendall(answer)
