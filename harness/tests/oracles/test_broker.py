"""What clients were told of sandboxes, compared with pool, allocations and provider: what is amiss is said, only that.

A track T has the sandbox S; what a test changes about that is the one thing that is amiss.
"""

from __future__ import annotations

from typing import Any

import pytest

from harness.oracles.broker import EXPIRED
from harness.oracles.findings import Findings
from harness.oracles.history import Ledger
from harness.oracles.reconcile import Audit
from harness.postgres.server import Postgres
from harness.tests.oracles.book import NOW, Book, clean

AT = int(NOW.timestamp())
ENDED = AT + 60
DELETE = {"id": "S", "at": ENDED + 0.5, "status": 204, "effect": True}


def has(book: Book, sandbox_id: str = "S", track_id: str = "T", status: str = "allocated") -> None:
    """The track has the sandbox."""
    book.execute(
        f"INSERT INTO sandboxes VALUES ('{sandbox_id}', '{status}', 'identity/accounts/{sandbox_id}')",
        "INSERT INTO allocations (sandbox_id, track_id, allocated_at, grace_until)"
        f" VALUES ('{sandbox_id}', '{track_id}', to_timestamp({AT}), to_timestamp({AT + 3600}))",
    )


def ended(book: Book, reason: str = "released", after_s: int = 60, status: str = "deleted") -> None:
    """Its allocation is over."""
    book.execute(
        f"UPDATE allocations SET ended_at = to_timestamp({AT + after_s}), end_reason = '{reason}'",
        f"UPDATE sandboxes SET status = '{status}'",
    )


def told(book: Book, *, released: bool = False) -> None:
    """The track was told that it has the sandbox, and that it was given back."""
    book.write("allocation", "T", ("S", AT))
    if released:
        book.write("release", "S", ENDED)


def test_what_agrees(book: Book) -> None:
    told(book)
    told(book)
    has(book)
    assert book.compare([], deletions=[]) == Findings()
    book.write("release", "S", ENDED)
    ended(book)
    assert book.compare([], deletions=[DELETE]) == Findings()


def test_an_allocation_that_is_not_there_is_missing(book: Book) -> None:
    told(book)
    assert book.compare().missing == [f"allocation T: acknowledged as S at {AT}, has nothing"]


def test_a_repeat_that_was_told_another_sandbox_is_missing(book: Book) -> None:
    told(book)
    has(book)
    book.write("allocation", "T", ("R", AT))
    assert book.compare().missing == [f"allocation T: acknowledged as R at {AT}, has S at {AT}"]


def test_a_repeat_that_was_told_another_time_is_missing(book: Book) -> None:
    has(book)
    book.write("allocation", "T", ("S", AT + 1))
    assert len(book.compare().missing) == 1


@pytest.mark.parametrize("where", ["told", "stored"])
def test_a_sandbox_of_two_tracks_is_doubled(where: str, book: Book) -> None:
    told(book)
    has(book)
    book.write("allocation", "U", *([("S", AT)] if where == "told" else []), lost=where == "stored")
    if where == "stored":
        book.execute(
            f"INSERT INTO allocations (sandbox_id, track_id, allocated_at) VALUES ('S', 'U', to_timestamp({AT}))"
        )
    assert book.compare().doubled == ["allocation of S: given to T, U"]


def test_a_track_with_two_sandboxes_is_doubled(book: Book) -> None:
    told(book)
    has(book)
    has(book, "R")
    found = book.compare()
    assert found.doubled == ["allocation T: has had 2 sandboxes"]
    assert found.landed == ["allocation T"]


def test_a_sandbox_that_its_track_has_twice_is_doubled(book: Book) -> None:
    told(book)
    has(book)
    book.execute(
        "INSERT INTO allocations (sandbox_id, track_id, ended_at, end_reason) VALUES ('S', 'T', now(), 'expired')"
    )
    assert "allocation T: has S twice" in book.compare().doubled


def test_another_sandbox_after_the_first_ran_out_is_none_too_many(book: Book) -> None:
    told(book)
    has(book)
    ended(book, EXPIRED, after_s=3600)
    has(book, "R")
    book.write("allocation", "T", ("R", AT))
    assert clean(book.compare())


def test_what_nobody_asked_for_is_found(book: Book) -> None:
    has(book)
    assert book.compare().unasked == ["allocation T: nobody asked for it"]
    told(book)
    ended(book)
    assert book.compare().unasked == ["release S: nobody asked for it"]


def test_what_was_there_before_is_nobodys(book: Book, server: Postgres) -> None:
    has(book)
    ended(book, status="available")
    assert clean(Audit(server.reader_url(book.url)).compare(book.ledger, deletions=[]))


def test_without_an_answer_it_may_be_there_and_need_not(book: Book) -> None:
    book.write("allocation", "T", lost=True)
    assert clean(book.compare())
    has(book)
    assert book.compare() == Findings(landed=["allocation T"])
    book.write("release", "S", status=503)
    ended(book)
    assert book.compare() == Findings(landed=["allocation T", "release S"])


def test_a_release_that_is_not_there_or_at_another_time_is_missing(book: Book) -> None:
    told(book, released=True)
    has(book)
    assert book.compare().missing == ["release S: acknowledged, and its allocation has not ended"]
    ended(book, after_s=61)
    assert book.compare().missing == [f"release S: acknowledged as {ENDED}, is {ENDED + 1}"]


def test_who_is_told_that_it_ran_out_is_told_the_truth(book: Book) -> None:
    told(book)
    book.write("release", "S", status=403, fact=EXPIRED)
    has(book)
    ended(book)
    assert book.compare().missing == [f"release S: acknowledged as expired, is {ENDED}"]
    ended(book, EXPIRED, after_s=3600)
    assert clean(book.compare())
    ended(book, EXPIRED, after_s=3599)
    assert book.compare().unasked == ["release S: ended as expired before its time"]


@pytest.mark.parametrize("status", ["available", "stale", "allocated"])
def test_what_was_given_back_is_never_had_again(status: str, book: Book) -> None:
    told(book, released=True)
    has(book)
    ended(book, status=status)
    found = book.compare()
    assert [*found.missing, *found.unasked]


def test_pool_and_ledger_say_the_same(book: Book) -> None:
    told(book)
    has(book, status="pending_deletion")
    assert book.compare().missing == ["allocation T: has S, which is pending_deletion"]
    book.execute("DELETE FROM allocations", "UPDATE sandboxes SET status = 'allocated'")
    assert "allocation of S: allocated, and no track has it" in book.compare().unasked


DELETIONS: dict[str, tuple[dict[str, Any] | None, str]] = {
    "of nobody's": ({"id": "R"}, "deletion R: of a sandbox that nobody has had"),
    "before the release": ({"at": ENDED - 0.5}, "deletion S: asked for while T had it"),
    "without an effect": ({"effect": False, "status": 500}, "deletion S: deleted, and the provider still has it"),
    "never": (None, "deletion S: deleted, and the provider still has it"),
}


@pytest.mark.parametrize("change,said", DELETIONS.values(), ids=DELETIONS.keys())
def test_a_deletion_that_is_none(change: dict[str, Any] | None, said: str, book: Book, monkeypatch: Any) -> None:
    monkeypatch.setattr(book.ledger, "moves", False)
    told(book, released=True)
    has(book)
    ended(book)
    found = book.compare([], deletions=[] if change is None else [DELETE | change])
    assert said in [*found.missing, *found.unasked]


def test_a_deletion_of_what_a_track_has(book: Book) -> None:
    told(book)
    has(book)
    assert book.compare([], deletions=[DELETE]).unasked == ["deletion S: asked for while T had it"]


def test_a_deletion_may_be_asked_for_again(book: Book) -> None:
    told(book, released=True)
    has(book)
    ended(book)
    again = DELETE | {"effect": False, "status": 404}
    assert clean(book.compare([], deletions=[DELETE | {"status": 0}, again]))
    assert clean(book.compare([], deletions=[again]))


def test_what_waits_for_its_deletion_is_missing_in_the_end(book: Book) -> None:
    told(book, released=True)
    has(book)
    ended(book, status="deleting")
    assert book.compare([], deletions=[]).missing == ["deletion S: still deleting"]


def test_a_clock_that_moves_is_no_witness(book: Book) -> None:
    assert book.ledger.moves
    assert not Ledger().moves
