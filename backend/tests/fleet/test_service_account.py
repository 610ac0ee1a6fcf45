"""What a service account must be: refused with a reason that quotes nothing, and what is accepted can sign."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from firebase_admin import credentials
from hypothesis import given
from hypothesis import strategies as st

from nexmdm.fleet.service_account import check

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
ACCOUNT = {
    "type": "service_account",
    "project_id": "p",
    "client_email": "a@p.invalid",
    "private_key": PEM,
    "token_uri": "https://oauth2.googleapis.com/token",
}


def pem(key: Any) -> str:
    text: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text.decode()


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(PEM, id="PKCS8"),
        pytest.param(
            KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode(), id="PKCS1"
        ),
        pytest.param(PEM.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(f"\n{PEM}\n", id="blank lines"),
    ],
)
def test_an_account_that_is_accepted_can_sign(key: str) -> None:
    account = ACCOUNT | {"private_key": key}
    check(json.dumps(account))
    assert credentials.Certificate(account).get_credential().signer.sign(b"text")


@pytest.mark.parametrize(
    "change,reason",
    [
        ({"private_key": PEM.replace("\n", "\\n")}, "its private_key has newlines that are escaped twice"),
        ({"private_key": "hunter2"}, "its private_key is not a PEM private key"),
        ({"private_key": PEM[:500]}, "its private_key is not a PEM private key"),
        ({"private_key": "é"}, "its private_key is not a PEM private key"),
        (
            {"private_key": KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()},
            "its private_key is not a PEM private key",
        ),
        (
            {
                "private_key": KEY.private_bytes(
                    Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2")
                ).decode()
            },
            "its private_key is not a PEM private key",
        ),
        ({"private_key": pem(ec.generate_private_key(ec.SECP256R1()))}, "its private_key is not an RSA key"),
        ({"private_key": pem(ed25519.Ed25519PrivateKey.generate())}, "its private_key is not an RSA key"),
        ({"private_key": ""}, "lacks private_key"),
        ({"private_key": ["hunter2"]}, "lacks private_key"),
        ({"private_key": None, "client_email": ""}, "lacks client_email, private_key"),
        ({"type": None}, 'its type is not "service_account"'),
        ({"type": "authorized_user"}, 'its type is not "service_account"'),
        ({"token_uri": "oauth2.googleapis.com/token"}, "its token_uri is not an http:// or https:// URL"),
        ({"token_uri": "file:///etc/passwd"}, "its token_uri is not an http:// or https:// URL"),
        ({"project_id": "a/../b"}, "its project_id is not the id of a project"),
        ({"project_id": "a\nb"}, "its project_id is not the id of a project"),
    ],
)
def test_an_account_that_cannot_sign_is_refused_with_a_reason(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        check(json.dumps(ACCOUNT | change))


@pytest.mark.parametrize("text", ["", "{hunter2", "[" * 100_000, "\ud800", "NaN"])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not JSON$"):
        check(text)


@given(text=st.text() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_whatever_is_refused_is_a_value_error_on_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
        check(text)
