"""Keyset pages of every list: complete, without repeats, stable while rows are added."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from acceptance.fleet.apks import upload
from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.system import System, Tokens, Unchanged, new_alias

LISTS = ["/v1/devices", "/v1/enroll-tokens", "/admin/dispatches", "/v1/apk/builds"]


def devices(system: System) -> tuple[str, dict[str, Any], Callable[[], str]]:
    return "device_id", {"status": "active"}, lambda: system.device().device_id


def enroll_tokens(system: System) -> tuple[str, dict[str, Any], Callable[[], str]]:
    alias = new_alias()
    return "token_id", {"alias": alias}, lambda: str(system.token(aliases=[alias])["token_id"])


def dispatches(system: System) -> tuple[str, dict[str, Any], Callable[[], str]]:
    device = system.device()
    return "request_id", {"device_id": device.device_id}, lambda: system.ping(device)


def builds(system: System) -> tuple[str, dict[str, Any], Callable[[], str]]:
    package = f"com.pages.p{new_alias()[2:]}"
    codes = iter(range(1, 100))
    return (
        "build_id",
        {"package_name": package},
        lambda: str(accepted(upload(system.api, package_name=package, version_code=next(codes)), 201)["build_id"]),
    )


NOUNS = dict(zip(LISTS, (devices, enroll_tokens, dispatches, builds), strict=True))


@case("pages/001", "listDevices 200", "listEnrollTokens 200", "listDispatches 200", "listApkBuilds 200")
@pytest.mark.parametrize("path,noun", NOUNS.items())
def test_pages_are_complete_and_stable_under_inserts(
    path: str,
    noun: Callable[[System], tuple[str, dict[str, Any], Callable[[], str]]],
    system: System,
    api: Api,
    logs: Logs,
) -> None:
    """Reading page by page gives every row once, newest first, even while new rows are added (api.md: keyset pages)."""
    key, filters, create = noun(system)
    created = [create() for _ in range(5)]
    read: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = api.admin("GET", path, params={**filters, **cursor, "limit": 2})
        logs.expect(page, "http.request", status=200)
        body = accepted(page)
        read += [str(item[key]) for item in body["items"]]
        cursor = {"cursor": body["next_cursor"] or ""}
        create()  # newer than what was read: it must neither show up on a later page nor shift one
    assert read[:5] == created[::-1]
    assert path == "/v1/devices" or (len(read), cursor) == (5, {"cursor": ""}), "the end has no next_cursor"


@case("pages/002", "* 422")
@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query,pointer",
    [
        *(
            (query, "/query/limit")
            for query in (
                "limit=0",
                "limit=201",
                "limit=ten",
                "limit=",
                "limit=1e1",
                "limit=5.0",
                "limit=5_0",
                "limit=%2B5",
                "limit=%20",
                "limit=" + "9" * 5000,
                "limit=%D9%A1",
                "limit=1&limit=2",
                "limit=1&limit=1",
            )
        ),
        *(
            (query, "/query/cursor")
            for query in (
                "cursor=AAAA",
                "cursor=AAAA&cursor=AAAA",
                "cursor=",
                "cursor=not%20base64!",
                "cursor=not-a-cursor",
                "cursor=" + "A" * 201,
                "cursor=%00",
                "cursor=%ff%fe",
            )
        ),
    ],
    ids=lambda value: value[:24],
)
def test_a_page_that_cannot_be_is_refused(
    path: str, query: str, pointer: str, api: Api, logs: Logs, unchanged: Unchanged
) -> None:
    """A limit or cursor outside its schema and a repeated parameter are each a 422 that names it (api.md)."""
    with unchanged():
        answer = api.admin("GET", f"{path}?{query}")
    assert pointers(refused(answer, 422, "validation_error")) == {pointer}
    logs.expect(answer, "http.request", status=422)


@case("pages/003", "listEnrollTokens 200")
def test_a_batch_of_one_moment_is_paged_too(api: Api, tokens: Tokens, logs: Logs) -> None:
    """Rows of one moment are each on one page, and a full page that is the last has no cursor (openapi: Paging)."""
    batch = tokens(5)
    read: list[str] = []
    cursor: dict[str, str] = {}
    while len(read) < len(batch):
        page = api.admin("GET", "/v1/enroll-tokens", params={**cursor, "limit": 2})
        logs.expect(page, "http.request", status=200)
        read += [item["token_id"] for item in accepted(page)["items"]]
        cursor = {"cursor": page.json()["next_cursor"] or ""}
    assert sorted(read[:5]) == sorted(token["token_id"] for token in batch)
    only = accepted(api.admin("GET", "/v1/enroll-tokens", params={"alias": batch[0]["alias"], "limit": 1}))
    assert (len(only["items"]), only["next_cursor"]) == (1, None)


def encoded(content: bytes | list[Any]) -> str:
    """Bytes, or members as JSON, as a cursor."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def next_cursor(system: System, path: str) -> str:
    """A cursor of the list that is good."""
    _, filters, create = NOUNS[path](system)
    create()
    create()
    return str(accepted(system.api.admin("GET", path, params={**filters, "limit": 1}))["next_cursor"])


def forged(cursor: str) -> dict[str, str]:
    """A good cursor, spoiled in each way."""
    *head, moment, key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    moments = {
        "year 0 in UTC": "0001-01-01T00:00:00+14:00",
        "year 10000 in UTC": "9999-12-31T23:59:59.999999-14:00",
        "the first moment": "0001-01-01T00:00:00+00:00",
        "the last moment": "9999-12-31T23:59:59.999999+00:00",
        "year 0": "0000-01-01T00:00:00+00:00",
        "another offset": "2026-11-20T10:00:00+02:00",
        "no offset": "2026-11-20T10:00:00",
        "an offset of days": "2026-11-20T10:00:00+99:99",
        "a leap second": "2016-12-31T23:59:60+00:00",
        "nanoseconds": "2026-11-20T10:00:00.123456789+00:00",
        "a week": "2026-W47-5T10:00:00+00:00",
        "infinity": "infinity",
        "minus infinity": "-infinity",
        "NaN": "NaN",
        "NUL": moment + "\x00",
    }
    keys: dict[str, Any] = {
        "an empty key": "",
        "a space in the key": key + " ",
        "NUL in the key": key + "\x00",
        "half a surrogate in the key": "\ud800",
        "other digits": "\u0663",
        "a key without end": "9" * 90,
        "a number as key": 1,
        "no key": None,
        "a list as key": [key],
    }
    texts: dict[str, bytes | list[Any]] = {
        "not UTF-8": b"\xff\xfe",
        "nested": b"[" * 140,
        "a number of many digits": b"9" * 150,
        "NaN as moment": [*head, float("nan"), key],
        "an object": json.dumps(dict.fromkeys([*head, moment, key])).encode(),
        "one member more": [*head, moment, key, key],
        "one member less": [*head, moment],
        "blanks": json.dumps([*head, moment, key], indent=1).encode(),
    }
    made = {name: encoded([*head, value, key]) for name, value in moments.items()}
    made |= {name: encoded([*head, moment, value]) for name, value in keys.items()}
    made |= {name: encoded(value) for name, value in texts.items()}
    return made | {"a character more": cursor + "A", "a character less": cursor[:-1], "only letters": "A" * 200}


@case("pages/004", "* 422")
@pytest.mark.parametrize("path", LISTS)
def test_a_cursor_that_the_list_did_not_make_is_refused(
    path: str, system: System, api: Api, logs: Logs, unchanged: Unchanged
) -> None:
    """A cursor with another time, key or form, or of another list, is a 422 that names it, never a 500 (issue 11)."""
    made = {other: next_cursor(system, other) for other in LISTS}
    good = made.pop(path)
    accepted(api.admin("GET", path, params={"cursor": good}))
    for name, cursor in (made | forged(good)).items():
        with unchanged():
            answer = api.admin("GET", path, params={"cursor": cursor})
        assert answer.status == 422, f"{name}: {answer.status}"
        assert pointers(refused(answer, 422, "validation_error")) == {"/query/cursor"}, name
        logs.expect(answer, "http.request", status=422)


@case("pages/005", "* 200")
@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "moment", ["0001-01-02T00:00:00+00:00", "1969-12-31T23:59:59.999999+00:00", "9999-12-30T23:59:59.999999+00:00"]
)
def test_a_cursor_of_any_time_that_there_is_gives_a_page(
    moment: str, path: str, system: System, api: Api, logs: Logs
) -> None:
    """The first and the last moment that the service takes are times like any other (issue 11)."""
    *head, _, key = json.loads(base64.urlsafe_b64decode(next_cursor(system, path) + "=="))
    page = api.admin("GET", path, params={"cursor": encoded([*head, moment, key])})
    assert bool(accepted(page)["items"]) is moment.startswith("9999")
    logs.expect(page, "http.request", status=200)
