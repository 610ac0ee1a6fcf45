"""URLs of PostgreSQL: what no connection can come of is refused, and the server has a name without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexmdm.kernel import database_url

TCP = "postgresql://u:a-password@db.example:5432/db"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "url,environment,says",
    [
        (TCP, {"PGSSLMODE": "on"}, "sslmode is none of"),
        (f"{TCP}?sslmode=require&sslrootcert=/no/ca.pem", {}, r"/no/ca.pem \(sslrootcert, PGSSLROOTCERT\): No such"),
        (TCP, {"PGSSLKEY": "/no/key.pem"}, r"/no/key.pem \(sslkey, PGSSLKEY\): No such"),
        (f"{TCP}?sslmode=verify-full", {}, r"~/.postgresql/root.crt \(sslrootcert, PGSSLROOTCERT\): No such"),
        ("postgresql://u:a#password@h/db", {}, "must be a postgresql:// URL"),
        ("postgresql://u:1/password@h/db", {}, "must be a postgresql:// URL"),
        ("postgresql://u:a?password@h/db", {}, "must be a postgresql:// URL"),
        ("postgresql://u:pässword@h/db", {}, "printable ASCII"),
    ],
)
def test_what_cannot_work_is_refused(url: str, environment: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        database_url.check(url, environment)
    assert "password" not in str(refused.value)


@pytest.mark.parametrize(
    "url,environment",
    [
        (TCP, {}),
        (f"{TCP}?sslmode=require", {}),  # without a root.crt there is nothing to verify with
        (f"{TCP}?sslmode=disable&sslcert=/no/cert.pem", {}),
        ("postgresql://u@/db?host=/run/postgresql", {"PGSSLKEY": "/no/key.pem"}),
        ("postgresql:///db", {}),
    ],
)
def test_what_can_work_is_not(url: str, environment: dict[str, str]) -> None:
    database_url.check(url, environment)


def test_a_file_that_cannot_be_read_is_refused_and_one_that_is_not_there_is_not(home: Path) -> None:
    (home / ".postgresql" / "root.crl").mkdir(parents=True)  # not even root can read a folder as a file
    with pytest.raises(ValueError, match=r"cannot read ~/.postgresql/root\.crl"):
        database_url.check(TCP, {})
    assert not database_url.closed_home()


@pytest.mark.parametrize(
    "url,name",
    [
        (TCP, "PostgreSQL at db.example:5432"),
        ("postgresql://u:p@ss@[::1]:1/db", "PostgreSQL at [::1]:1"),
        ("postgresql://u@/db?host=/run/postgresql&port=5433", "PostgreSQL at /run/postgresql:5433"),
        ("postgresql:///db", "PostgreSQL at its default address"),
        ("postgresql://hunter2/db", "PostgreSQL at the host of the URL"),
    ],
)
def test_the_server_has_a_name(url: str, name: str) -> None:
    assert database_url.server(url) == name
