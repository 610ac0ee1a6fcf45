"""Whom every suite trusts over TLS: the system's certificates, or those of SSL_CERT_FILE and SSL_CERT_DIR."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit


def context(kind: type[ssl.SSLContext] = ssl.SSLContext) -> ssl.SSLContext:
    """A context that verifies certificate and host name. kind: gevent's class, where sockets are gevent's."""
    made = kind(ssl.PROTOCOL_TLS_CLIENT)
    made.load_default_certs()
    return made


def authorities() -> str | None:
    """The same for a client that takes a path (requests): a file or a folder. None: this machine has neither."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath


def connect(base_url: str, timeout_s: float) -> socket.socket:
    """A connection to the server of an http:// or https:// address, for who writes bytes himself. OSError."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if parts.scheme != "https":
        return socket.create_connection((host, parts.port or 80), timeout=timeout_s)
    plain = socket.create_connection((host, parts.port or 443), timeout=timeout_s)
    try:
        return context().wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise
