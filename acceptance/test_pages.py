"""Keyset pages of every list: complete, without repeats, stable while rows are added."""

from collections.abc import Callable
from typing import Any

import pytest

from acceptance.answers import accepted, pointers, refused
from acceptance.api import Api
from acceptance.apks import upload
from acceptance.case import case
from acceptance.logs import Logs
from acceptance.system import System, Tokens, Unchanged, new_alias

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


@case("pages/001", "listDevices 200", "listEnrollTokens 200", "listDispatches 200", "listApkBuilds 200")
@pytest.mark.parametrize(
    "path,noun",
    [
        ("/v1/devices", devices),
        ("/v1/enroll-tokens", enroll_tokens),
        ("/admin/dispatches", dispatches),
        ("/v1/apk/builds", builds),
    ],
)
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
        ([("limit", "0")], "/query/limit"),
        ([("limit", "201")], "/query/limit"),
        ([("limit", "ten")], "/query/limit"),
        ([("cursor", "AAAA")], "/query/cursor"),
        ([("cursor", "not base64!")], "/query/cursor"),
        ([("limit", "1"), ("limit", "2")], "/query/limit"),
    ],
    ids=str,
)
def test_a_page_that_cannot_be_is_refused(
    path: str, query: list[tuple[str, str]], pointer: str, api: Api, logs: Logs, unchanged: Unchanged
) -> None:
    """A limit or cursor outside its schema and a repeated parameter are each a 422 that names it (api.md)."""
    with unchanged():
        answer = api.admin("GET", path, params=query)
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
