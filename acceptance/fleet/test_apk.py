"""GET and HEAD /v1/apk/download-latest: the bytes that devices fetch. Builds come in in test_apk_builds.py."""

from typing import Any

import pytest

from acceptance.fleet.apks import new_package, upload
from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.metrics import Metrics
from acceptance.system.system import FreshBackend, System, Tokens, Unchanged
from harness.devices.apk import MEDIA_TYPE, apk
from harness.http.client import Answer

PATH = "/v1/apk/download-latest"


def download(api: Api, token: str, package: str, method: str = "GET", **headers: str) -> Answer:
    return api.bearer(
        token,
        method,
        PATH,
        params={"package_name": package},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


@case("apk/004", "downloadLatestApk 200")
@pytest.mark.parametrize("scope", ["register", "apk_download"])
def test_an_enrolment_token_downloads_the_latest_build(
    scope: str, api: Api, tokens: Tokens, logs: Logs, db: Database, metrics: Metrics
) -> None:
    """A token of any scope gets the bytes; an event with source enrollment is kept, no use consumed (000 A)."""
    package, content, [token] = new_package(), apk(70_000), tokens(scope=scope)
    build = accepted(upload(api, content, package_name=package, version_code=9), 201)
    accepted(upload(api, package_name=package, version_code=8), 201)  # later, but not later in version
    with metrics.moves({'nexmdm_apk_downloads_total{build_type="release",source="enrollment"}': 1}):
        answer = download(api, token["token"], package)
    assert (answer.status, answer.body) == (200, content)
    assert answer.headers["etag"] == f'"{build["sha256"]}"'
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert int(answer.headers["content-length"]) == len(content)
    event = db.row("select * from apk_download_events where build_id = %s", build["build_id"])
    assert (event["source"], str(event["token_id"]), event["admin_user"]) == ("enrollment", token["token_id"], None)
    used = db.value("select uses_consumed from enrollment_tokens where token_id = %s", token["token_id"])
    assert used == 0
    assert event["ip"] is not None
    logs.expect(
        answer, "apk.download", build_id=build["build_id"], build_type="release", source="enrollment", status=200
    )
    logs.expect(answer, "db_operation", operation="create", entity="apk_download_events")


@case("apk/005", "downloadLatestApk 200")
@pytest.mark.parametrize("build_type", ["release", "debug"])
@pytest.mark.parametrize("source", ["manual", "ci"])
def test_an_admin_downloads_and_is_recorded(
    source: str, build_type: str, api: Api, logs: Logs, db: Database, metrics: Metrics
) -> None:
    """An admin's download is recorded and counted as manual or ci, without a token (002: apk_download_events)."""
    package = new_package()
    build = accepted(upload(api, package_name=package, build_type=build_type), 201)
    params = {"package_name": package, "build_type": build_type, **({"source": "ci"} if source == "ci" else {})}
    counted = f'nexmdm_apk_downloads_total{{build_type="{build_type}",source="{source}"}}'
    with metrics.moves({counted: 1, "nexmdm_apk_downloads_total": 1}):
        answer = api.admin("GET", PATH, params=params)
    assert answer.status == 200
    event = db.row("select * from apk_download_events where build_id = %s", build["build_id"])
    assert (event["source"], event["token_id"]) == (source, None)
    assert event["admin_user"]
    logs.expect(answer, "apk.download", build_id=build["build_id"], build_type=build_type, source=source, status=200)


@case("apk/006", "headLatestApk 200", "headLatestApk 304", "downloadLatestApk 304")
def test_head_and_if_none_match_cost_no_bytes(
    api: Api, tokens: Tokens, logs: Logs, db: Database, metrics: Metrics, unchanged: Unchanged
) -> None:
    """HEAD and a matching If-None-Match (304) answer without a body and without a download event (api.md)."""
    package, [token] = new_package(), tokens()
    build = accepted(upload(api, apk(100), package_name=package), 201)
    etag = f'"{build["sha256"]}"'
    with unchanged(), metrics.moves({"nexmdm_apk_downloads_total": 0}):
        head = download(api, token["token"], package, "HEAD")
        same = download(api, token["token"], package, If_None_Match=etag)
        any_of = download(api, token["token"], package, If_None_Match=f'"x", W/{etag}')
        star = download(api, token["token"], package, "HEAD", If_None_Match="*")
    assert (head.status, head.body, int(head.headers["content-length"])) == (200, b"", build["size_bytes"])
    assert [answer.status for answer in (same, any_of, star)] == [304] * 3
    assert same.headers["etag"] == head.headers["etag"] == etag
    logs.expect(same, "http.request", status=304)
    assert not logs.of(head, "apk.download")
    assert not logs.of(same, "apk.download")
    other = download(api, token["token"], package, If_None_Match='"another"')
    assert other.status == 200
    assert db.value("select count(*) from apk_download_events where build_id = %s", build["build_id"]) == 1


@case("apk/007", "downloadLatestApk 206")
@pytest.mark.parametrize(
    "wanted,first,last",
    [("bytes=0-15", 0, 15), ("bytes=100-", 100, None), ("bytes=-20", -20, None), ("bytes=10-999999", 10, None)],
)
def test_a_range_is_answered_with_its_bytes(
    wanted: str, first: int, last: int | None, api: Api, tokens: Tokens, logs: Logs, metrics: Metrics
) -> None:
    """A Range is a 206 with exactly those bytes and a Content-Range, recorded and counted as a download (api.md)."""
    package, content, [token] = new_package(), apk(1000), tokens()
    build = accepted(upload(api, content, package_name=package), 201)
    with metrics.moves({'nexmdm_apk_downloads_total{build_type="release",source="enrollment"}': 1}):
        answer = download(api, token["token"], package, Range=wanted)
    start = first % len(content)
    expected = content[start : None if last is None else last + 1]
    assert (answer.status, answer.body) == (206, expected)
    assert answer.headers["content-range"] == f"bytes {start}-{start + len(expected) - 1}/{len(content)}"
    assert int(answer.headers["content-length"]) == len(expected)
    logs.expect(answer, "apk.download", build_id=build["build_id"], status=206)


@case("apk/008", "downloadLatestApk 416")
def test_a_range_behind_the_end_is_refused(
    api: Api, tokens: Tokens, logs: Logs, metrics: Metrics, unchanged: Unchanged
) -> None:
    """A Range that begins behind the end is a 416 with the size, and no download event (api.md)."""
    package, content, [token] = new_package(), apk(), tokens()
    accepted(upload(api, content, package_name=package), 201)
    with unchanged(), metrics.moves({"nexmdm_apk_downloads_total": 0}):
        answer = download(api, token["token"], package, Range=f"bytes={len(content)}-")
    refused(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(content)}"
    assert not logs.of(answer, "apk.download")


@case("apk/009", "* 404", "* 422")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "package,status,code", [("com.acceptance.never", 404, "no_build"), ("nodots", 422, "validation_error")]
)
def test_a_download_that_cannot_be_is_refused(
    method: str, package: str, status: int, code: str, api: Api, tokens: Tokens, logs: Logs, unchanged: Unchanged
) -> None:
    """Without a build (404) or a package (422) there are no bytes and no event (000 A: 404)."""
    [token] = tokens()
    with unchanged():
        answer = download(api, token["token"], package, method)
    if method == "GET":
        refused(answer, status, code)
    assert (answer.status, answer.body if method == "HEAD" else b"") == (status, b"")
    logs.expect(answer, "http.request", status=status)
    assert not logs.of(answer, "apk.download")


def unannounced(system: System, content: bytes, package: str) -> Answer:
    """An upload in chunks, whose length nobody knows before its end."""
    path = f"/v1/apk/builds?package_name={package}&version_code=1&version_name=1.0.0"
    headers = [("X-Admin", system.target.admin_key), ("Content-Type", MEDIA_TYPE)]
    pieces: Any = iter([content])
    return system.api.take("POST", path, system.api.transport.send("POST", path, headers=headers, content=pieces))


@case("apk/010", "downloadLatestApk 429", "uploadApkBuild 413")
def test_bursts_and_oversized_uploads_are_refused(fresh_backend: FreshBackend) -> None:
    """Downloads beyond the burst limit per token or address are a 429; too large a build is a 413 (000 A)."""
    system: System = fresh_backend(
        env={"NEXMDM_LIMIT_APK_TOKEN": "3/3600", "NEXMDM_LIMIT_APK_IP": "6/3600", "NEXMDM_APK_MAX_BYTES": "4096"}
    )
    api, package = system.api, new_package()
    with system.unchanged():
        refused(upload(api, apk(5000), package_name=package), 413, "payload_too_large")
        refused(unannounced(system, apk(5000), package), 413, "payload_too_large")
    build = accepted(upload(api, package_name=package), 201)
    one, other, third = system.tokens(3)
    assert [download(api, one["token"], package).status for _ in range(3)] == [200] * 3
    with system.unchanged():
        per_token = download(api, one["token"], package)
    refused(per_token, 429, "rate_limited")
    system.logs.expect(per_token, "sec.token.ratelimit", rule="apk_token")
    answers = [download(api, token["token"], package) for token in (other, third) for _ in range(3)]
    allowed = sum(answer.status == 200 for answer in answers)
    assert allowed in (2, 3), "whether a refused download counts for its address too is not promised"
    for answer in answers[allowed:]:
        refused(answer, 429, "rate_limited")
        system.logs.expect(answer, "sec.token.ratelimit", rule="apk_ip")
    events = "select count(*) from apk_download_events where build_id = %s"
    assert system.db.value(events, build["build_id"]) == 3 + allowed
    assert system.metrics.total('nexmdm_rate_limited_total{rule="apk_token"}') == 1
    assert system.metrics.total('nexmdm_rate_limited_total{rule="apk_ip"}') == 6 - allowed
