"""POST and GET /v1/apk/builds: upload and list. How builds go out is in test_apk.py."""

import hashlib
from typing import Any

import pytest

from acceptance.fleet.apks import new_package, upload
from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.system import Unchanged
from harness.devices.apk import MEDIA_TYPE, apk

PATH = "/v1/apk/download-latest"
METADATA = {
    "version_name": "1.4.2",
    "notes": "Faster launch",
    "ci_run_id": "8123456789",
    "git_sha": "3f2c1b0",
    "signer_fingerprint": "AB:CD:EF:01:23",
    "build_type": "debug",
}


@case("apk/001", "uploadApkBuild 201", "listApkBuilds 200")
def test_a_build_is_uploaded_and_listed(api: Api, logs: Logs, db: Database) -> None:
    """An upload is a 201 with size, SHA-256 and its CI metadata, and the list shows it (002: apk_versions)."""
    content, package = apk(5000), new_package()
    sha256 = hashlib.sha256(content).hexdigest()
    answer = upload(api, content, package_name=package, version_code=142, sha256=sha256, **METADATA)
    build = accepted(answer, 201)
    expected = {"package_name": package, "version_code": 142, "size_bytes": len(content), "sha256": sha256, **METADATA}
    assert {name: build[name] for name in expected} == expected
    row = db.row("select * from apk_versions where build_id = %s", build["build_id"])
    assert {name: row[name] for name in expected} == expected
    assert row["storage_url"]
    assert accepted(api.admin("GET", "/v1/apk/builds", params={"package_name": package}))["items"] == [build]
    other = api.admin("GET", "/v1/apk/builds", params={"package_name": package, "build_type": "release"})
    assert accepted(other)["items"] == []
    logs.expect(
        answer,
        "apk.upload",
        build_id=build["build_id"],
        package_name=package,
        version_code=142,
        build_type="debug",
        size_bytes=len(content),
        sha256=sha256,
    )
    logs.expect(answer, "db_operation", operation="create", entity="apk_versions")


@case("apk/002", "uploadApkBuild 415", "uploadApkBuild 422")
@pytest.mark.parametrize(
    "query,content,status,code",
    [
        pytest.param({}, b"PK not really", 422, "not_an_apk", id="not a ZIP"),
        pytest.param({}, b"", 422, "not_an_apk", id="empty"),
        pytest.param({}, apk(manifest="Manifest.xml"), 422, "not_an_apk", id="a ZIP without AndroidManifest.xml"),
        pytest.param({"sha256": "0" * 64}, None, 422, "checksum_mismatch", id="another checksum"),
        pytest.param({"media_type": "application/zip"}, None, 415, "unsupported_media_type", id="another type"),
        pytest.param({"version_code": None}, None, 422, "validation_error", id="no version code"),
        pytest.param({"version_code": 0}, None, 422, "validation_error", id="version code 0"),
        pytest.param({"package_name": "nodots"}, None, 422, "validation_error", id="no package name"),
        pytest.param({"git_sha": "xyz"}, None, 422, "validation_error", id="no git sha"),
        pytest.param({"build_type": "beta"}, None, 422, "validation_error", id="another build type"),
    ],
)
def test_an_upload_that_is_no_build_is_refused(
    query: dict[str, Any], content: bytes | None, status: int, code: str, api: Api, logs: Logs, unchanged: Unchanged
) -> None:
    """What is not an APK, or not what it says it is, is refused and leaves no row (000 A: 422; api.md)."""
    with unchanged():
        answer = upload(api, content, **query)
    problem = refused(answer, status, code)
    if code == "validation_error":
        assert pointers(problem) == {f"/query/{next(iter(query))}"}
    assert not logs.of(answer, "apk.upload")


@case("apk/011", "uploadApkBuild 201")
@pytest.mark.parametrize("media_type", ["application/octet-stream", MEDIA_TYPE])
def test_a_build_is_taken_as_plain_bytes_too(media_type: str, api: Api, logs: Logs) -> None:
    """An upload may call itself octet-stream, as a generated client does, or an APK; it goes out as an APK (api.md)."""
    content, package = apk(100), new_package()
    answer = upload(api, content, package_name=package, media_type=media_type)
    build = accepted(answer, 201)
    logs.expect(answer, "apk.upload", build_id=build["build_id"])
    sent = api.admin("GET", PATH, params={"package_name": package})
    assert (sent.body, sent.headers["content-type"]) == (content, MEDIA_TYPE)


@case("apk/003", "uploadApkBuild 409")
def test_a_build_is_uploaded_once(api: Api, logs: Logs, unchanged: Unchanged) -> None:
    """The same package, version and type again is a 409 and keeps the first file (api.md)."""
    package = new_package()
    first = accepted(upload(api, package_name=package, version_code=7), 201)
    with unchanged():
        answer = upload(api, package_name=package, version_code=7)
    refused(answer, 409, "build_exists")
    assert not logs.of(answer, "apk.upload")
    accepted(upload(api, package_name=package, version_code=7, build_type="debug"), 201)
    assert hashlib.sha256(api.admin("GET", PATH, params={"package_name": package}).body).hexdigest() == first["sha256"]
