"""A secret in a text, a file or a table must be found, and must not stand in the finding."""

from pathlib import Path

import psycopg
import pytest

from harness.oracles.secret_scan import Search
from harness.postgres.server import Postgres

RANDOM = "b" * 43
TOKEN = f"nxd_{'0' * 32}_{RANDOM}" + "c" * 11
KNOWN = ["the-admin-key-of-this-run", TOKEN]


@pytest.mark.parametrize(
    "secret",
    ["nxe_" + "A" * 43, TOKEN, RANDOM, TOKEN[-54:], "-----BEGIN PRIVATE KEY-----", "the-admin-key-of-this-run"],
    # Not in junit.xml:
    ids=["enrolment token", "device token", "a token's random part", "a token's end", "private key", "known value"],
)
def test_a_secret_is_found_and_not_repeated(secret: str) -> None:
    [found] = Search(KNOWN).text(f"fine\nx {secret} y\nfine")
    assert "line 2" in found
    assert secret not in found


def test_masked_text_and_hashes_are_no_secret() -> None:
    assert Search(["", "short", *KNOWN]).text("nxe_*** nxd_short short " + "0f" * 32 + " $2b$10$" + "c" * 53) == []


def test_a_file_below_the_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "backend.log").write_text(f'fine\n{{"token": "{TOKEN}"}}\n')
    (tmp_path / "fine.txt").write_text("fine")
    [found] = Search().files(tmp_path)
    assert found.startswith("logs/backend.log: line 2")


def test_a_row_of_any_table_is_found() -> None:
    with Postgres.start() as postgres, psycopg.connect(postgres.clone("leaks"), autocommit=True) as connection:
        connection.execute('create table "Odd name" (a text); create table clean (a text)')
        connection.execute("insert into \"Odd name\" values (%s), ('fine')", (f"line\nbreak {KNOWN[0]}",))
        connection.execute("insert into clean values ('fine')")
        assert Search(KNOWN).tables(connection) == ["table Odd name: a secret in clear in 1 rows"]
        assert Search().tables(connection) == []
