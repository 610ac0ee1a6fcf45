"""The latest build through the whole application: ranges, conditions, what is recorded, a storage that has lost it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from support.apks import LATEST, apk, upload

from nexmdm.fleet.apk.downloads import wanted_range
from nexmdm.kernel.problems import Problem


async def test_the_latest_build_has_the_highest_version_code(
    api: httpx.AsyncClient, connection: asyncpg.Connection[Any]
) -> None:
    contents = {code: apk(bytes([code])) for code in (9, 10, 8)}
    for code, content in contents.items():
        await upload(api, content, version_code=code)
    await upload(api, version_code=99, build_type="debug")
    answer = await api.get(LATEST, params={"source": "ci"})
    assert answer.content == contents[10]
    assert answer.headers["etag"] == f'"{hashlib.sha256(contents[10]).hexdigest()}"'
    event = await connection.fetchrow("SELECT source, token_id, admin_user, ip::text FROM apk_download_events")
    assert event is not None
    assert tuple(event) == ("ci", None, "admin", "203.0.113.9/32")


@pytest.mark.parametrize(
    "wanted,expected",
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=5-", slice(5, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=-99999", slice(None)),
        ("BYTES=2-3", slice(2, 4)),
        ("bytes=3-99999", slice(3, None)),
    ],
)
async def test_a_range_is_answered_in_part(api: httpx.AsyncClient, wanted: str, expected: slice) -> None:
    content = apk(bytes(range(256)))
    await upload(api, content)
    answer = await api.get(LATEST, headers={"Range": wanted})
    part = content[expected]
    first = content.index(part) if expected.start != -7 else len(content) - 7
    assert (answer.status_code, answer.content) == (206, part)
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(part) - 1}/{len(content)}"
    assert int(answer.headers["content-length"]) == len(part)


@pytest.mark.parametrize(
    "wanted", ["bytes=5-2", "bytes=a-b", "bytes=0-1,3-4", "lines=1-2", "bytes=-", "", "bytes=1 - 2"]
)
async def test_what_is_no_single_range_gets_the_whole_file(api: httpx.AsyncClient, wanted: str) -> None:
    content = apk()
    await upload(api, content)
    answer = await api.get(LATEST, headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (200, content)


@pytest.mark.parametrize("wanted", ["bytes={size}-", "bytes={size}-{size}", "bytes=-0", "bytes=999999999999999999-"])
async def test_a_range_behind_the_end_is_a_416_without_an_event(
    api: httpx.AsyncClient, connection: asyncpg.Connection[Any], wanted: str
) -> None:
    content = apk()
    await upload(api, content)
    answer = await api.get(LATEST, headers={"Range": wanted.format(size=len(content))})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(content)}"
    assert await connection.fetchval("SELECT count(*) FROM apk_download_events") == 0


async def test_conditions_come_before_the_range(api: httpx.AsyncClient, connection: asyncpg.Connection[Any]) -> None:
    content = apk()
    etag = f'"{(await upload(api, content)).json()["sha256"]}"'
    part = {"Range": "bytes=0-1"}
    assert (await api.get(LATEST, headers={**part, "If-None-Match": etag})).status_code == 304
    assert (await api.get(LATEST, headers={**part, "If-Range": etag})).status_code == 206
    for other in ('"other"', f"W/{etag}", "Wed, 21 Oct 2026 07:28:00 GMT"):
        assert (await api.get(LATEST, headers={**part, "If-Range": other})).content == content
    assert await connection.fetchval("SELECT count(*) FROM apk_download_events") == 4


async def test_head_has_the_headers_of_a_get_and_no_event(
    api: httpx.AsyncClient, connection: asyncpg.Connection[Any]
) -> None:
    await upload(api)
    head = await api.head(LATEST, headers={"Range": "bytes=0-1"})
    assert (head.status_code, head.content) == (200, b"")
    assert await connection.fetchval("SELECT count(*) FROM apk_download_events") == 0
    full = await api.get(LATEST)
    for name in ("etag", "last-modified", "content-length", "accept-ranges", "content-type"):
        assert head.headers[name] == full.headers[name], name


async def test_a_lost_file_is_a_503_without_an_event(
    api: httpx.AsyncClient, storage: Path, connection: asyncpg.Connection[Any]
) -> None:
    await upload(api)
    shutil.rmtree(storage)
    answer = await api.get(LATEST)
    assert (answer.status_code, answer.json()["code"]) == (503, "dependency_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert await connection.fetchval("SELECT count(*) FROM apk_download_events") == 0


def test_a_range_of_one_byte_at_the_end() -> None:
    assert wanted_range("bytes=9-9", 10) == (9, 10)
    with pytest.raises(Problem) as refusal:
        wanted_range("bytes=10-10", 10)
    assert refusal.value.headers["Content-Range"] == "bytes */10"
