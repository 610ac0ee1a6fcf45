"""Secrets are compared in constant time: no `==`, no search and no set decides about one, anywhere in the package.

What is looked up by a hash (enrolment tokens, known device tokens) needs no such care: nobody can steer a SHA-256
towards another digit by digit. It measures no time: over HTTP nanoseconds cannot be seen.
"""

from __future__ import annotations

import ast
import hmac
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

import nexmdm

PACKAGE = Path(nexmdm.__file__).parent
# A value with one of these words in its name is, or is made of, something that a caller must not guess.
SECRET = ("secret", "admin_key", "signature", "expected", "hexdigest", "token_hash", "ticket", "password")
SEARCHES = ("startswith", "endswith", "find", "index", "fullmatch", "match")


def names(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr


def is_secret(node: ast.AST) -> bool:
    return any(word in name.lower() for name in names(node) for word in SECRET)


def careless(tree: ast.AST) -> Iterator[int]:
    """Lines where a secret is compared as text is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            literal = any(isinstance(side, ast.Constant) and side.value is None for side in sides)
            if not literal and any(map(is_secret, sides)):
                yield node.lineno
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in SEARCHES and is_secret(node):
            yield node.lineno


# A query's `==` becomes SQL over a SHA-256; the others compare what is no secret.
ALLOWED = {
    "fleet/auth.py": "EnrollmentToken.token_hash == hash_enrolment_token(presented)",
    "http/json_body.py": "essence.strip().lower() not in expected",
    "kernel/settings.py": 're.fullmatch("[ -~]*", secret.get_secret_value())',  # which letters it has, at the start
}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_secret_is_compared_as_text(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    lines = [source.splitlines()[number - 1].strip() for number in careless(ast.parse(source))]
    assert [line for line in lines if ALLOWED.get(path.relative_to(PACKAGE).as_posix(), "\n") not in line] == []


@pytest.mark.parametrize(
    "line",
    ["given == settings.admin_key", "expected.startswith(given)", "re.match(signature, x)", "given in (secret,)"],
)
def test_the_search_finds_what_it_is_for(line: str) -> None:
    assert list(careless(ast.parse(line))) == [1]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """What went through hmac.compare_digest."""
    seen: list[tuple[Any, Any]] = []
    real = hmac.compare_digest

    def compare(one: Any, other: Any) -> bool:
        seen.append((one, other))
        return bool(real(one, other))

    monkeypatch.setattr(hmac, "compare_digest", compare)
    return seen


async def test_a_wrong_admin_key_is_compared_whole(api: httpx.AsyncClient, compared: list[tuple[Any, Any]]) -> None:
    key = api.headers["x-admin"]
    for wrong in ("x", key[:-1] + "x"):
        answer = await api.get("/v1/devices", headers={"X-Admin": wrong})
        assert answer.status_code == 403
        assert compared.pop() == (wrong.encode(), key.encode())


async def test_a_wrong_signature_is_compared_whole(api: httpx.AsyncClient, compared: list[tuple[Any, Any]]) -> None:
    for wrong in ("x", "sha256=" + "0" * 64):
        headers = {"X-Timestamp": str(int(time.time())), "X-Signature": wrong}
        answer = await api.post("/admin/command", headers=headers, content=b"{}")
        assert answer.status_code == 403
        given, expected = compared.pop()
        assert given == wrong.encode()
        assert re.fullmatch(b"sha256=[0-9a-f]{64}", expected)


async def test_a_wrong_device_token_is_compared_whole(api: httpx.AsyncClient, compared: list[tuple[Any, Any]]) -> None:
    headers = {"Authorization": f"Bearer nxd_{uuid4().hex}_{'x' * 43}{'y' * 11}"}
    answer = await api.post("/v1/heartbeat", headers=headers, json={"status": "ok"})
    assert answer.status_code == 401
    [sides] = compared
    assert "y" * 11 in sides
