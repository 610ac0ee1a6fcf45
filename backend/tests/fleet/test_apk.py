"""Builds through the whole application on a real database and a local storage: upload, refusals, races, the list."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from support.apks import BUILDS, MEDIA_TYPE, apk, upload


@pytest.fixture
def broken_storage(storage: Path) -> None:
    storage.write_text("a file where the folder should be")


def stored(storage: Path) -> set[str]:
    return {path.name for path in storage.iterdir()} if storage.exists() else set()


async def test_an_upload_is_kept_under_its_sha256_and_listed(api: httpx.AsyncClient, storage: Path) -> None:
    content = apk(b"x" * 1000)
    digest = hashlib.sha256(content).hexdigest()
    answer = await upload(api, content, sha256=digest, notes="Zeile 1\nZeile 2", build_type="debug")
    assert answer.status_code == 201, answer.text
    build = answer.json()
    assert (build["sha256"], build["size_bytes"], build["uploaded_at"][-1]) == (digest, len(content), "Z")
    assert (storage / f"{digest}.apk").read_bytes() == content
    listed = (await api.get(BUILDS, params={"build_type": "debug"})).json()
    assert listed == {"items": [build], "next_cursor": None}


async def test_of_equal_uploads_that_race_one_wins_and_one_file_is_kept(
    api: httpx.AsyncClient, storage: Path, connection: asyncpg.Connection[Any]
) -> None:
    answers = await asyncio.gather(*(upload(api) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"build_exists"}
    assert len(stored(storage)) == 1
    assert await connection.fetchval("SELECT count(*) FROM apk_versions") == 1


async def test_who_loses_a_race_with_other_bytes_leaves_no_file(api: httpx.AsyncClient, storage: Path) -> None:
    answers = await asyncio.gather(*(upload(api, apk(bytes([n]))) for n in range(6)))
    winner = next(answer.json() for answer in answers if answer.status_code == 201)
    assert stored(storage) == {f"{winner['sha256']}.apk"}


async def test_equal_bytes_may_be_several_builds(api: httpx.AsyncClient, storage: Path) -> None:
    answers = await asyncio.gather(*(upload(api, version_code=n) for n in range(1, 5)))
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len(stored(storage)) == 1


@pytest.mark.parametrize(
    "content,query,headers,status,code",
    [
        (b"no archive", {}, {}, 422, "not_an_apk"),
        (b"", {}, {}, 422, "not_an_apk"),
        (None, {"sha256": "0" * 64}, {}, 422, "checksum_mismatch"),
        (None, {"version_code": "1_0"}, {}, 422, "validation_error"),
        (None, {"version_code": "7.0"}, {}, 422, "validation_error"),
        (None, {"version_code": 2_100_000_001}, {}, 422, "validation_error"),
        (None, {"notes": "\x00"}, {}, 422, "validation_error"),
        (None, {"git_sha": "ABCDEF0"}, {}, 422, "validation_error"),
        (None, {"package_name": ["a.b", "a.c"]}, {}, 422, "validation_error"),
        (None, {}, {"Content-Type": "application/zip"}, 415, "unsupported_media_type"),
        (None, {}, {"Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
        (b"x" * 4097, {}, {}, 413, "payload_too_large"),
        (None, {}, {"X-Admin": "wrong"}, 403, "admin_required"),
    ],
)
async def test_a_refused_upload_leaves_nothing(
    api: httpx.AsyncClient,
    storage: Path,
    connection: asyncpg.Connection[Any],
    content: bytes | None,
    query: dict[str, Any],
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    answer = await api.post(
        BUILDS,
        params={"version_code": 1, "version_name": "1", **query},
        content=apk() if content is None else content,
        headers={"Content-Type": MEDIA_TYPE, **headers},
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert stored(storage) == set()
    assert await connection.fetchval("SELECT count(*) FROM apk_versions") == 0


async def test_a_body_of_unknown_length_is_cut_off_at_the_limit(api: httpx.AsyncClient) -> None:
    sent = 0

    async def more_than_allowed() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1024
            yield b"x" * 1024

    answer = await api.post(
        BUILDS,
        params={"version_code": 1, "version_name": "1"},
        content=more_than_allowed(),
        headers={"Content-Type": MEDIA_TYPE},
    )
    assert answer.status_code == 413
    assert sent <= 4096 + 2048


async def test_a_list_is_read_page_by_page(api: httpx.AsyncClient) -> None:
    for code in range(1, 6):
        await upload(api, version_code=code)
    seen: list[int] = []
    params: dict[str, Any] = {"limit": 2}
    for _ in range(3):
        page = (await api.get(BUILDS, params=params)).json()
        seen += [build["version_code"] for build in page["items"]]
        params["cursor"] = page["next_cursor"]
    assert params["cursor"] is None
    assert seen == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("build_id", ["0", "x", "99999999999999999999", "-1", "1e3"])
async def test_a_forged_cursor_is_refused(api: httpx.AsyncClient, build_id: str) -> None:
    forged = base64.urlsafe_b64encode(f'["2026-01-01T00:00:00+00:00", "{build_id}"]'.encode()).decode().rstrip("=")
    assert (await api.get(BUILDS, params={"cursor": forged})).status_code == 422


@pytest.mark.usefixtures("broken_storage")
async def test_a_storage_that_cannot_be_written_is_a_503_without_a_row(
    api: httpx.AsyncClient, connection: asyncpg.Connection[Any]
) -> None:
    answer = await upload(api)
    assert (answer.status_code, answer.json()["code"]) == (503, "dependency_unavailable")
    assert await connection.fetchval("SELECT count(*) FROM apk_versions") == 0
