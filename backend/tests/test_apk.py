"""Builds through the whole application on a real database and a local storage: upload, races, ranges, conditions."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import shutil
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from kernel import settings_for

from nexmdm.apk.archive import is_apk
from nexmdm.apk.downloads import is_known, wanted_range
from nexmdm.app import create_api
from nexmdm.errors import Problem
from nexmdm.telemetry import Telemetry

BUILDS, LATEST = "/v1/apk/builds", "/v1/apk/download-latest"
MEDIA_TYPE = "application/vnd.android.package-archive"
LIMIT_BYTES = 4096


def apk(filler: bytes = b"", names: tuple[str, ...] = ("AndroidManifest.xml",), comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "<manifest/>")
        archive.writestr("classes.dex", filler)
        archive.comment = comment
    return file.getvalue()


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "apk"


@pytest.fixture
async def api(database_url: str, storage: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, with the admin key."""
    app = create_api(settings_for(database_url, storage_url=str(storage), apk_max_bytes=LIMIT_BYTES))
    transport = httpx.ASGITransport(Telemetry(app), client=("203.0.113.9", 1))
    headers = {"X-Admin": "0123456789abcdef"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client,
    ):
        yield client


@pytest.fixture
def broken_storage(storage: Path) -> None:
    storage.write_text("a file where the folder should be")


async def upload(api: httpx.AsyncClient, content: bytes | None = None, **query: Any) -> httpx.Response:
    return await api.post(
        BUILDS,
        params={"version_code": 1, "version_name": "1.0", **query},
        content=apk() if content is None else content,
        headers={"Content-Type": MEDIA_TYPE},
    )


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
        (b"x" * (LIMIT_BYTES + 1), {}, {}, 413, "payload_too_large"),
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

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1024
            yield b"x" * 1024

    answer = await api.post(
        BUILDS,
        params={"version_code": 1, "version_name": "1"},
        content=endless(),
        headers={"Content-Type": MEDIA_TYPE},
    )
    assert answer.status_code == 413
    assert sent <= LIMIT_BYTES + 2048


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
    for name in ("etag", "content-length", "accept-ranges", "content-type"):
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


@pytest.mark.usefixtures("broken_storage")
async def test_a_storage_that_cannot_be_written_is_a_503_without_a_row(
    api: httpx.AsyncClient, connection: asyncpg.Connection[Any]
) -> None:
    answer = await upload(api)
    assert (answer.status_code, answer.json()["code"]) == (503, "dependency_unavailable")
    assert await connection.fetchval("SELECT count(*) FROM apk_versions") == 0


def broken_archives() -> Iterator[Any]:
    good = apk(b"x" * 100)
    yield pytest.param(apk(names=("AndroidManifest.xm",)), False, id="no manifest")
    yield pytest.param(apk(names=("res/AndroidManifest.xml",)), False, id="manifest elsewhere")
    yield pytest.param(b"MZ" + good, False, id="something in front")
    yield pytest.param(good + b"\n", False, id="something behind")
    yield pytest.param(good[:-1], False, id="cut off")
    yield pytest.param(good.replace(b"PK\x03\x04", b"PK\x03\x05", 1), False, id="no local header")
    yield pytest.param(good.replace(b"PK\x01\x02", b"PK\x01\x03", 1), False, id="no directory entry")
    yield pytest.param(b"PK\x05\x06" + bytes(18), False, id="empty archive")
    yield pytest.param(b"PK\x03\x04", False, id="four bytes")
    yield pytest.param(good, True, id="good")
    yield pytest.param(apk(comment=b"hello PK\x05\x06 world"), True, id="a comment like a directory's end")
    yield pytest.param(apk(comment=b"x" * 65535), True, id="the longest comment")
    yield pytest.param(apk(names=("a", "b", "AndroidManifest.xml")), True, id="manifest not first")


@pytest.mark.parametrize("content,expected", list(broken_archives()))
def test_an_apk_is_told_from_what_is_none(content: bytes, expected: bool) -> None:
    assert is_apk(io.BytesIO(content)) is expected


def test_no_damage_makes_the_check_fail() -> None:
    good = apk(b"x" * 50)
    for at in range(len(good)):
        for value in (0, 0xFF, good[at] ^ 1):
            is_apk(io.BytesIO(good[:at] + bytes([value]) + good[at + 1 :]))
        assert not is_apk(io.BytesIO(good[:at]))


@pytest.mark.parametrize(
    "given,known",
    [
        (None, False),
        ("*", True),
        ('"abc"', True),
        ('W/"abc"', True),
        ('"x", "abc"', True),
        ('"x","y"', False),
        ("abc", False),
        ("", False),
        ('"ab', False),
        ('"ABC"', False),
    ],
)
def test_if_none_match_is_compared_as_the_rfc_asks(given: str | None, known: bool) -> None:
    assert is_known('"abc"', given) is known


def test_a_range_of_one_byte_at_the_end() -> None:
    assert wanted_range("bytes=9-9", 10) == (9, 10)
    with pytest.raises(Problem) as refusal:
        wanted_range("bytes=10-10", 10)
    assert refusal.value.headers["Content-Range"] == "bytes */10"
