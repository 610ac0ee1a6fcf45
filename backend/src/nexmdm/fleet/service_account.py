"""The service account of Google's that sends to FCM: what must be right so that it can sign. It fetches no token."""

from __future__ import annotations

import re
from typing import Final

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_TEXTS: Final = ("project_id", "client_email", "private_key", "token_uri")
_PROJECT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,99}")
_URL: Final = re.compile(r"https?://[A-Za-z0-9.\[\]:-]{1,255}(/[A-Za-z0-9._~/-]*)?")


def check(text: str) -> None:
    """Check the JSON text that Google gives for an account.

    Raises:
        ValueError: what is wrong, on one line that never quotes the account.
    """
    try:
        account = orjson.loads(text)
    except ValueError:
        raise ValueError("is not JSON") from None  # the cause would quote the key
    if not isinstance(account, dict):
        raise ValueError("is no JSON object")  # noqa: TRY004 - a faulty setting, not a wrong call
    missing = [name for name in _TEXTS if not (isinstance(account.get(name), str) and account[name])]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    if account.get("type") != "service_account":
        raise ValueError('its type is not "service_account"')
    if not _PROJECT.fullmatch(account["project_id"]):
        raise ValueError("its project_id is not the id of a project")
    if not _URL.fullmatch(account["token_uri"]):
        raise ValueError("its token_uri is not an http:// or https:// URL")
    _check_key(account["private_key"])


def _check_key(pem: str) -> None:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        if "\\n" in pem:
            raise ValueError("its private_key has newlines that are escaped twice") from None
        raise ValueError("its private_key is not a PEM private key") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("its private_key is not an RSA key")  # noqa: TRY004 - a faulty setting, not a wrong call
