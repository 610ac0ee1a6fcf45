"""The table of FCM's answers: each row, and that nothing outside it ends a command or costs a device its token."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nexmdm.fleet.fcm_verdict import FCM_ERROR, NOT_FROM_FCM, TABLE, Kind, Verdict, judge

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.just(FCM_ERROR)
    | st.sampled_from([c for _, _, c in TABLE]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "error", "details", "@type", "errorCode", "status", "message"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
STATUS = st.integers(100, 999)


def document(kind: Kind, code: str) -> bytes:
    error: dict[str, Any] = {"code": 0, "message": "m", "status": code if kind == "google" else "SOME_STATUS"}
    if kind == "fcm":
        error["details"] = [{"@type": "other", "reason": "r"}, {"@type": FCM_ERROR, "errorCode": code}]
    return json.dumps({"error": error}).encode()


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_each_row_is_judged_as_it_stands(row: tuple[int, Kind, str]) -> None:
    status, kind, code = row
    found = judge(status, document(kind, code))
    assert (found.verdict, found.code, found.text, found.message_id) == (TABLE[row], code, "m", None)


@pytest.mark.parametrize("row", TABLE, ids=str)
@given(status=STATUS)
def test_with_another_status_a_row_is_tried_again(row: tuple[int, Kind, str], status: int) -> None:
    _, kind, code = row
    expected = TABLE.get((status, kind, code), Verdict.RETRY)
    assert judge(status, document(kind, code)).verdict is expected


def test_only_fcms_own_code_kills_a_token() -> None:
    dead = [row for row, verdict in TABLE.items() if verdict is Verdict.TOKEN_DEAD]
    assert dead == [(404, "fcm", "UNREGISTERED")]
    assert judge(404, document("google", "UNREGISTERED")).verdict is Verdict.RETRY


@given(status=STATUS, code=st.from_regex(r"[A-Z_]{3,40}", fullmatch=True), kind=st.sampled_from(["fcm", "google"]))
def test_a_code_that_nobody_knows_is_tried_again(status: int, code: str, kind: Kind) -> None:
    found = judge(status, document(kind, code))
    assert found.verdict is TABLE.get((status, kind, code), Verdict.RETRY)
    assert found.code == (code if status >= 400 else NOT_FROM_FCM)


@given(status=STATUS, body=st.binary() | ANYTHING.map(lambda value: json.dumps(value).encode()))
@example(status=200, body=b'{"name": "a\\u0000b"}')
@example(status=200, body=b'{"name": "\\ud800"}')
@example(status=400, body=b'{"error": {"status": "INVALID_ARGUMENT", "message": "\\u0000"}}')
@example(status=404, body=b"[" * 100_000)
@example(status=404, body=b"9" * 10_000)
def test_whatever_comes_is_judged_and_can_be_stored(status: int, body: bytes) -> None:
    found = judge(status, body)
    assert (found.verdict is Verdict.SENT) == (found.code == "OK") == (found.message_id is not None)
    assert found.verdict is not Verdict.SENT or status == 200
    for text in (found.code, found.message_id or "", found.text or ""):
        assert "\x00" not in text.encode().decode()
        assert len(text) <= 300


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b'{"name": ""}', b'{"name": 7}', b"<html>", b'{"name'])
def test_200_without_a_message_name_is_not_sent(body: bytes) -> None:
    assert judge(200, body).verdict is Verdict.RETRY
    assert judge(200, body).code == NOT_FROM_FCM


@pytest.mark.parametrize("status", [201, 204, 302, 404])
def test_a_message_name_counts_with_200_alone(status: int) -> None:
    assert judge(status, b'{"name": "projects/p/messages/1"}').verdict is Verdict.RETRY
