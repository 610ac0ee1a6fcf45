"""A ledger that is compared with a database says missing, doubled and unasked when they are, and only then."""

from __future__ import annotations

from typing import Any

import pytest

from harness.http.transport import Answer
from harness.oracles.history import Kind
from harness.oracles.reconcile import BUCKET_S, Audit
from harness.postgres.server import Postgres
from harness.tests.oracles.book import NOW, Book, clean

# Of each kind: what is asked and promised, and the row that keeps the promise.
KINDS: dict[Kind, tuple[str, Any, str]] = {
    "token": ("A", "t-1", "INSERT INTO enrollment_tokens VALUES ('A', 't-1')"),
    "registration": ("A", "d-1", "INSERT INTO devices VALUES ('A', 'd-1')"),
    "command": ("c-1", "c-1", "INSERT INTO fcm_dispatches VALUES ('c-1', 'c-1', 'd-1')"),
    "revocation": ("t-9", "t-9", "INSERT INTO enrollment_tokens VALUES ('Z', 't-9', now())"),
    "retirement": ("d-9", "d-9", "INSERT INTO devices VALUES ('Z', 'd-9', 1, now())"),
    "upload": ("p 7", "abc", "INSERT INTO apk_versions VALUES ('p', 7, 'abc')"),
}
_OTHERS: dict[Kind, Kind] = {"revocation": "token", "retirement": "registration"}  # the row is one of these as well


def message(request_id: str, status: int = 200) -> dict[str, Any]:
    return {"data": {"request_id": request_id}, "status": status}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_agrees_when_it_is_there_and_is_missed_when_it_is_not(kind: Kind, book: Book) -> None:
    key, promise, row = KINDS[kind]
    book.execute(row)
    if kind in _OTHERS:
        book.write(_OTHERS[kind], "Z")
    book.write(kind, key, promise)
    assert clean(book.compare())
    book.execute("DELETE FROM enrollment_tokens", "DELETE FROM devices", "DELETE FROM fcm_dispatches")
    book.execute("DELETE FROM apk_versions")
    assert any(kind in said for said in book.compare().missing)


@pytest.mark.parametrize("kind", ["token", "registration", "command", "upload"])
def test_each_kind_is_doubled_when_it_is_there_twice(kind: Kind, book: Book) -> None:
    key, promise, row = KINDS[kind]
    book.write(kind, key, promise)
    book.execute(row, row)
    assert [said.split(":")[0] for said in book.compare().doubled] == [f"{kind} {key}"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_nobody_asked_for_is_found(kind: Kind, book: Book) -> None:
    book.execute(KINDS[kind][2])
    assert f"{kind} {KINDS[kind][0]}: nobody asked for it" in book.compare().unasked


def test_what_was_there_before_is_nobodys(book: Book, server: Postgres) -> None:
    book.execute(*(row for _, _, row in KINDS.values()))
    book.row()
    later = Audit(server.reader_url(book.url))
    assert clean(later.compare(book.ledger))


def test_another_promise_than_what_is_there_is_missing(book: Book) -> None:
    book.write("registration", "A", "d-2")
    book.execute("INSERT INTO devices VALUES ('A', 'd-1')")
    assert book.compare().missing == ["registration A: acknowledged as d-2, is d-1"]


def test_a_write_without_an_answer_may_be_there_and_need_not(book: Book) -> None:
    book.write("token", "A", lost=True)
    assert clean(book.compare())
    book.execute(KINDS["token"][2])
    found = book.compare()
    assert clean(found)
    assert found.landed == ["token A"]


def test_a_result_is_missing_changed_or_doubled(book: Book) -> None:
    book.write("command", "c-1", "c-1")
    book.write("result", "c-1", NOW)
    book.execute(f"INSERT INTO fcm_dispatches VALUES ('c-1', 'c-1', 'd-1', 'completed', '{NOW.isoformat()}')")
    book.execute("INSERT INTO dispatch_transitions VALUES ('c-1', 'completed')")
    assert clean(book.compare())
    book.execute("INSERT INTO dispatch_transitions VALUES ('c-1', 'completed')")
    assert book.compare().doubled == ["result c-1: there 2 times, asked for 1 times"]
    book.execute("UPDATE fcm_dispatches SET completed_at = completed_at + interval '1 s'")
    assert len(book.compare().missing) == 1


def test_a_heartbeat_has_a_row_of_its_bucket(book: Book) -> None:
    book.beat("ingested")
    assert len(book.compare().missing) == 1
    book.row(after_s=BUCKET_S)
    assert len(book.compare().missing) == 1, "the bucket after is not its own"
    assert len(book.compare().unasked) == 1
    book.row()
    assert not book.compare().missing


def test_two_new_heartbeats_are_two_rows_and_a_duplicate_shares_one(book: Book) -> None:
    book.row()
    book.beat("ingested")
    book.beat()
    assert clean(book.compare())
    book.beat("ingested")
    assert len(book.compare().missing) == 1


def test_two_rows_in_a_bucket_are_one_too_many(book: Book) -> None:
    book.beat("ingested")
    book.row()
    book.row()
    assert len(book.compare().doubled) == 1


def test_an_answer_that_crosses_an_edge_may_lie_on_either_side(book: Book) -> None:
    def send() -> Answer:
        book.now += BUCKET_S
        return Answer(200, {}, b"{}", 1.0, None)

    book.row()
    book.ledger.write("heartbeat", "d-1", send, lambda _: ["ingested"])
    assert clean(book.compare())


def test_a_message_is_sent_once(book: Book) -> None:
    book.write("command", "c-1", "c-1")
    book.execute(KINDS["command"][2])
    assert book.compare([]).missing == ["message c-1: sent, and FCM never took it"]
    assert clean(book.compare([message("c-1", 503), message("c-1")]))
    twice = [message("c-1"), message("c-1")]
    assert book.compare(twice).doubled == ["message c-1: FCM took it 2 times"]
    assert clean(book.compare(twice, sends_again=1))
    assert book.compare([message("c-1"), message("c-2")]).unasked == ["message c-2: of no dispatch"]
    book.execute("UPDATE fcm_dispatches SET status = 'queued'")
    assert book.compare([]).missing == ["message c-1: still queued"]
    book.execute("UPDATE fcm_dispatches SET status = 'failed'")
    assert clean(book.compare([]))


def test_the_tally_tells_refusals_from_wrong_answers_and_from_none(book: Book) -> None:
    book.write("token", "A", "t-1")
    book.write("token", "B", status=503)
    book.write("token", "C", status=500)
    book.write("token", "D", lost=True)
    book.write("token", "E", status=503, retry_after=False)
    tally = book.ledger.tally()
    assert (tally.asked, tally.acknowledged, tally.refused, tally.unanswered) == (5, 1, 1, 1)
    assert tally.wrong == {"token 500 some_code": 1, "token 503 some_code without Retry-After": 1}
    assert book.ledger.acknowledged_since(0).keys() == {"token"}
    assert not book.ledger.acknowledged_since(1)


def test_it_is_asked_before_it_is_sent(book: Book) -> None:
    seen: list[int] = []

    def send() -> Answer:
        seen.append(len(book.ledger.entries("token")))
        return Answer(200, {}, b"{}", 1.0, None)

    book.ledger.write("token", "A", send)
    assert seen == [1]
