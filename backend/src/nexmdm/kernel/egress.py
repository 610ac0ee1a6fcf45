"""The way out to a URL, by the rules of requests for proxies, with which google-auth fetches its tokens."""

from __future__ import annotations

import re
import ssl
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from requests.utils import get_environ_proxies, select_proxy

_PROXY: Final = re.compile(r"https?://([^/?#\s]*@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?")


def proxy_for(url: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY (either case) name for this URL; None: no proxy.

    Raises:
        ValueError: it is none that we can speak to; the text never holds its value, which may have a password.
    """
    proxies = get_environ_proxies(url)
    proxy = select_proxy(url, proxies)
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not _PROXY.fullmatch(proxy):
        scheme = url.partition(":")[0]
        name = scheme if proxies.get(scheme) else "all"
        raise ValueError(f"{name.upper()}_PROXY: must be the http:// or https:// URL of a proxy")
    return proxy


def transport_to(url: str, **options: Any) -> httpx.AsyncHTTPTransport:
    """How a client reaches the URL; `options` as of httpx. ValueError: see `proxy_for`."""
    # To read a hundred certificates takes 20 ms. Without any of them nobody is trusted.
    trust = urlsplit(url).scheme == "https" or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncHTTPTransport(verify=trust, proxy=proxy_for(url), **options)
