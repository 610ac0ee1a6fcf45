"""What a client was told of files and uploads, compared with what a zone holds: what is amiss is said, and only that.

The zone z has a file that was written and one that was uploaded; what a test changes about that is the one thing amiss.
"""

from __future__ import annotations

from hashlib import sha256

import pytest

from harness.oracles.findings import Findings
from harness.oracles.reconcile import Audit
from harness.oracles.zones import Part
from harness.postgres.server import Postgres
from harness.tests.oracles.book import Book, clean

CONTENT = b"of three parts"
DIGEST = sha256(CONTENT).hexdigest()
ROWS = (
    "INSERT INTO zones VALUES ('z', 18, 2, 0, 0, 3)",
    f"INSERT INTO files VALUES ('z', '/w', 4, 'abc'), ('z', '/u', 14, '{DIGEST}')",
    "INSERT INTO uploads VALUES ('z', '/u', 14, 0, now())",
    "INSERT INTO events VALUES ('z', 1, 'write', '/w'), ('z', 2, 'upload.created', '/u'), ('z', 3, 'write', '/u')",
)


def told(book: Book) -> None:
    """What the clients asked, and were told."""
    book.write("file", "z/w", lost=True)
    book.write("file", "z/w", "abc")
    book.write("part", "z/u", Part(0, 0))
    book.write("part", "z/u", Part(0, 8))
    book.write("part", "z/u", lost=True)
    book.write("part", "z/u", Part(8, 14, DIGEST))


def audited(book: Book, *changes: str, content: bytes = CONTENT) -> Findings:
    book.execute(*ROWS, *changes)
    return book.compare(content=lambda _: content)


def test_what_agrees(book: Book) -> None:
    told(book)
    assert audited(book) == Findings()


def test_what_was_there_before_is_nobodys(book: Book, server: Postgres) -> None:
    book.execute(*ROWS)
    assert clean(Audit(server.reader_url(book.url)).compare(book.ledger))


@pytest.mark.parametrize(
    "change, missing",
    [
        ("DELETE FROM files WHERE path = '/w'", "file z/w: acknowledged and not there"),
        ("UPDATE files SET etag = 'abd' WHERE path = '/w'", "file z/w: acknowledged as {'abc'}, is abd"),
        ("DELETE FROM events WHERE sequence_number = 1", "file z/w: written 1 times, and has 0 events"),
        ("DELETE FROM uploads", "part z/u: acknowledged up to 14, is at nothing"),
        ("UPDATE uploads SET upload_offset = 8", "part z/u: acknowledged up to 14, is at 8"),
        ("DELETE FROM files WHERE path = '/u'", "part z/u: acknowledged to its end, and is no file"),
        (
            "UPDATE zones SET used_bytes = 19",
            "zone z: says [19, 2, 0, 0, 3, 3], and its rows add up to [18, 2, 0, 0, 3, 3]",
        ),
        (
            "UPDATE zones SET reserved_bytes = 14",
            "zone z: says [18, 2, 14, 0, 3, 3], and its rows add up to [18, 2, 0, 0, 3, 3]",
        ),
        (
            "UPDATE events SET sequence_number = 4 WHERE sequence_number = 2",
            "zone z: says [18, 2, 0, 0, 3, 3], and its rows add up to [18, 2, 0, 0, 3, 4]",
        ),
    ],
)
def test_what_is_missing(change: str, missing: str, book: Book) -> None:
    told(book)
    found = audited(book, change)
    assert missing in found.missing
    assert not found.doubled


def test_another_content_than_what_was_sent_is_missing(book: Book) -> None:
    told(book)
    assert audited(book, content=b"of two parts").missing == ["part z/u: the file is not what was sent"]


def test_an_offset_that_goes_back_is_missing(book: Book) -> None:
    told(book)
    book.write("part", "z/u", Part(8, 14))
    assert audited(book).missing == ["part z/u: acknowledged up to 14, and went on at 8"]


@pytest.mark.parametrize(
    "change, doubled",
    [
        ("UPDATE files SET version = 3 WHERE path = '/w'", "file z/w: written 3 times, asked for 2 times"),
        ("UPDATE files SET version = 2 WHERE path = '/u'", "part z/u: finished 2 times"),
        ("INSERT INTO uploads VALUES ('z', '/u', 14, 0, now())", "part z/u: 2 uploads of it"),
    ],
)
def test_what_is_doubled(change: str, doubled: str, book: Book) -> None:
    told(book)
    assert audited(book, change).doubled == [doubled]


def test_what_nobody_asked_for(book: Book) -> None:
    more = "INSERT INTO events VALUES ('z', 4, 'write', '/w')"
    assert set(audited(book, more).unasked) == {
        "file z/w: nobody asked for it",
        "file z/u: nobody asked for it",
        "part z/u: nobody asked for it",
    }
    told(book)
    assert book.compare().unasked == ["file z/w: written 1 times, and has 2 events"]


def test_what_got_no_answer_may_be_there(book: Book) -> None:
    book.write("file", "z/w", lost=True)
    book.write("part", "z/u", Part(0, 8))
    book.write("part", "z/u", lost=True)
    found = audited(book)
    assert clean(found)
    assert found.landed == ["file z/w", "part z/u"]
