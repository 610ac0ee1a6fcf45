"""Uploads by tus 1.0.0: creation with and without bytes, deferred lengths, checksums, what a finished one answers."""

from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from acceptance.platform.test_upload import content, is_the_file
from acceptance.platform.zones import MIB, PART_BYTES, Platform
from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.match import refused
from acceptance.system.system import FreshBackend, System
from harness.http.client import Client, HttpxTransport
from harness.http.raw_http import answers
from harness.platform.uploads import (
    AS_CHUNK,
    IMF_FIXDATE,
    UPLOADS,
    VERSION,
    Upload,
    begin,
    checksum,
    create,
    metadata,
)
from harness.platform.uploads import length as of_length
from harness.platform.zone import Zone

RESERVED_AT_A_TIME = 64 * MIB
PAGE = "https://uploads.example.com"


@case("tus/001", "describeUploads 204")
def test_what_is_spoken(api: Api) -> None:
    """OPTIONS tells version, extensions, algorithms and the largest upload, without credentials (tus 1.0.0)."""
    answer = api.request("OPTIONS", UPLOADS)
    assert (answer.status, answer.body) == (204, b"")
    extensions = {"creation", "creation-with-upload", "creation-defer-length", "termination", "checksum", "expiration"}
    assert set(answer.headers["tus-extension"].split(",")) == extensions
    assert answer.headers["tus-version"] == "1.0.0"
    assert answer.headers["tus-checksum-algorithm"] == "sha1,sha256"
    assert answer.headers["tus-max-size"] == str(2**40)


@case("tus/002", "createUpload 201", "getUpload 200")
def test_an_upload_that_has_begun(zone: Zone, platform: Platform, system: System) -> None:
    """A creation says where to go on, relative to the host, and until when; HEAD has all of it, to the letter (tus)."""
    more = ",filename ZmlsZS5iaW4=,is_confidential"
    answer = create(zone, of_length(11), metadata("/a", more), ("Content-Type", "text/plain"))
    assert answer.status == 201
    assert answer.headers["location"].startswith(f"{UPLOADS}/")
    assert answer.headers["upload-offset"] == "0"
    expires = answer.headers["upload-expires"]
    assert IMF_FIXDATE.fullmatch(expires)
    assert parsedate_to_datetime(expires) > parsedate_to_datetime(answer.headers["date"])
    upload = Upload(zone, answer.headers["location"])
    shown = upload.look()
    assert (shown.status, shown.body) == (200, b"")
    wanted = {"upload-offset": "0", "upload-length": "11", "upload-metadata": metadata("/a", more)[1]}
    assert {name: shown.headers.get(name) for name in wanted} == wanted
    assert shown.headers["cache-control"] == "no-store"
    assert "upload-defer-length" not in shown.headers
    assert (zone.usage()["max_storage_bytes"], platform.reserved(zone.zone_id)) == (0, 11)
    assert zone.paths() == []
    system.logs.wait("platform.upload.created", upload_id=upload.id, length=11, level="INFO")


@case("tus/003", "createUpload 201", "readFile result")
def test_a_creation_with_bytes(zone: Zone, platform: Platform) -> None:
    """The body of a creation is the first bytes, or all of them; one of another media type is not read (tus)."""
    upload = begin(zone, "/a", 11, content=b"of the")
    assert upload.offset == 6
    upload.appended(b" text", 6)
    is_the_file(zone, "/a", b"of the text")
    whole = create(zone, of_length(11), metadata("/b"), AS_CHUNK, content=b"of the text")
    assert (whole.status, whole.headers["upload-offset"]) == (201, "11")
    is_the_file(zone, "/b", b"of the text")
    other = create(zone, of_length(11), metadata("/c"), ("Content-Type", "text/plain"), content=b"of the text")
    assert (other.status, other.headers["upload-offset"]) == (201, "0")
    platform.adds_up(zone.zone_id)
    platform.loses_nothing(zone.zone_id)


@case("tus/004", "createUpload 201", "readFile result")
def test_an_upload_of_nothing(zone: Zone, platform: Platform) -> None:
    """An upload of length 0 is a file with its creation (tus: creation)."""
    upload = begin(zone, "/empty", 0)
    is_the_file(zone, "/empty", b"")
    assert [event["type"] for event in zone.log()] == ["zone.created", "upload.created", "write"]
    assert upload.append(b"", 0).status == 204
    assert zone.usage()["max_uploads_open"] == 0
    platform.adds_up(zone.zone_id)


@case("tus/005", "appendToUpload 204", "appendToUpload 422", "appendToUpload 413", "getUpload 200")
def test_a_length_that_comes_later(zone: Zone, platform: Platform) -> None:
    """A deferred length holds 64 MiB until a PATCH tells it, once, and never less than is there (tus: defer-length)."""
    upload = begin(zone, "/a", None)
    shown = upload.look().headers
    assert (shown["upload-defer-length"], shown.get("upload-length")) == ("1", None)
    assert platform.reserved(zone.zone_id) == RESERVED_AT_A_TIME
    assert upload.appended(b"of the", 0) == 6
    assert "upload-defer-length" in upload.look().headers
    with platform.system.db.unchanged():
        for wrong in ("-1", "1.5", "", "x", str(2**63)):
            refused(upload.append(b"", 6, ("Upload-Length", wrong)), 422, "validation_error")
        refused(upload.append(b"", 6, ("Upload-Length", "5")), 422, "validation_error")
        refused(upload.append(b" text", 6, ("Upload-Length", "10")), 413, "payload_too_large")
        refused(upload.append(b" text", 6, ("Upload-Length", str(2**40 + 1))), 413, "payload_too_large")
    upload.appended(b" t", 6, ("Upload-Length", "11"))
    assert platform.reserved(zone.zone_id) == 11
    assert upload.look().headers["upload-length"] == "11"
    refused(upload.append(b"ext", 8, ("Upload-Length", "12")), 422, "validation_error")
    upload.appended(b"ext", 8, ("Upload-Length", "11"))
    is_the_file(zone, "/a", b"of the text")
    assert platform.reserved(zone.zone_id) == 0
    platform.adds_up(zone.zone_id)


@case("tus/006", "appendToUpload 204", "appendToUpload 460", "appendToUpload 400", "createUpload 460")
@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_checksum(algorithm: str, zone: Zone, platform: Platform) -> None:
    """A chunk whose digest is another is a 460 and nothing of it is kept; the right one is taken (tus: checksum)."""
    upload = begin(zone, "/a", 11, checksum(b"of the", algorithm), content=b"of the")
    before = upload.look().headers["upload-expires"]
    answer = upload.append(b" test", 6, checksum(b" text", algorithm))
    refused(answer, 460, "upload_checksum_mismatch")
    assert (upload.offset, upload.look().headers["upload-expires"]) == (6, before)
    platform.loses_nothing(zone.zone_id)
    digest = checksum(b" text", algorithm)[1].partition(" ")[2]
    with platform.unchanged():
        ours = ("", f" {digest[:-5]}=", f"  {digest}", f" {'~' * len(digest)}")
        for wrong in (f"md5 {digest}", f"SHA1 {digest}", "", *(f"{algorithm}{end}" for end in ours)):
            refused(upload.append(b" text", 6, ("Upload-Checksum", wrong)), 400, "checksum_unsupported")
            created = create(zone, of_length(5), metadata("/b"), AS_CHUNK, ("Upload-Checksum", wrong), content=b" text")
            refused(created, 400, "checksum_unsupported")
    upload.appended(b" text", 6, checksum(b" text", algorithm))
    is_the_file(zone, "/a", b"of the text")
    held = zone.usage()
    created = create(zone, of_length(5), metadata("/b"), AS_CHUNK, checksum(b" text", algorithm), content=b" test")
    refused(created, 460, "upload_checksum_mismatch")
    assert zone.usage() == held, "an upload that nobody was told of"
    assert platform.reserved(zone.zone_id) == 0
    platform.loses_nothing(zone.zone_id)


@case("tus/007", "appendToUpload 204", "appendToUpload 403", "appendToUpload 409", "getUpload 200")
def test_a_finished_upload(zone: Zone, platform: Platform) -> None:
    """A finished upload answers HEAD and a repeat of its last request, and takes no more bytes (tus)."""
    upload = begin(zone, "/a", 11, content=b"of the text")
    zone.write("/a", "later")
    with platform.unchanged():
        shown = upload.look().headers
        assert (shown["upload-offset"], shown["upload-length"]) == ("11", "11")
        assert upload.append(b"", 11).status == 204
        refused(upload.append(b"more", 11), 403, "upload_finished")
        refused(upload.append(b"", 10), 409, "upload_offset_mismatch")
    assert upload.terminate().status == 204
    assert zone.read("/a") == b"later"
    assert upload.look().status == 404


@case("tus/008", "appendToUpload 204", "readFile result")
def test_a_large_chunk(zone: Zone, platform: Platform) -> None:
    """A chunk that is longer than a part is stored in several, with a checksum too, and is one file (platform.md)."""
    wanted = content(2 * PART_BYTES + 5)
    upload = begin(zone, "/a", len(wanted))
    upload.appended(wanted[: PART_BYTES + 3], 0)
    upload.appended(wanted[PART_BYTES + 3 :], PART_BYTES + 3, checksum(wanted[PART_BYTES + 3 :], "sha256"))
    for offset in (0, PART_BYTES - 5, PART_BYTES, len(wanted) - 11):
        assert zone.read_range("/a", offset, 11) == wanted[offset : offset + 11]
    assert zone.usage()["max_storage_bytes"] == len(wanted)
    platform.adds_up(zone.zone_id)
    platform.loses_nothing(zone.zone_id)


@case("tus/009")
def test_a_method_override(zone: Zone, platform: Platform) -> None:
    """A POST that says so is a PATCH or a DELETE; without the header, or with another method, a 405 (tus: headers)."""
    upload = begin(zone, "/a", 11)
    with platform.apart(zone) as one:

        def posted(override: str, *headers: tuple[str, str], content: bytes = b"") -> Any:
            given = [VERSION, ("X-HTTP-Method-Override", override), *headers]
            return one.request("POST", upload.url, headers=given, content=content)

        patched = posted("PATCH", AS_CHUNK, ("Upload-Offset", "0"), content=b"of the")
        assert (patched.status, patched.headers["upload-offset"]) == (204, "6")
        for wrong in ("patch", "PUT", "", "DELETE, PATCH"):
            refused(posted(wrong, AS_CHUNK, ("Upload-Offset", "6"), content=b" text"), 405, "method_not_allowed")
        assert upload.offset == 6
        refused(posted("PATCH", AS_CHUNK, ("Upload-Offset", "0"), content=b"x"), 409, "upload_offset_mismatch")
        assert posted("DELETE").status == 204
    assert upload.look().status == 404
    refused(zone.request("POST", upload.url, headers=[VERSION]), 405, "method_not_allowed")


@case("tus/010", "appendToUpload 204")
def test_the_newest_request_has_the_upload(zone: Zone, platform: Platform, system: System) -> None:
    """A PATCH takes the upload over from one that hangs, which is told so later: never a 423 (platform.md)."""
    upload = begin(zone, "/a", 11)
    with upload.sending(system.target.base_url, b"of", 0, 6) as hanging:
        platform.held(upload.id)
        upload.appended(b"OF THE", 0)
        hanging.sendall(b" the")
        received = b""
        while b"\r\n\r\n" not in received or not received.endswith(b"}"):
            received += hanging.recv(65536)
        [late] = answers(received)
    refused(late, 409, "upload_offset_mismatch")
    upload.appended(b" text", 6)
    is_the_file(zone, "/a", b"OF THE text")
    platform.loses_nothing(zone.zone_id)


@case("tus/011", slow="starts a system")
def test_pages_of_an_origin_may_upload(fresh_backend: FreshBackend) -> None:
    """With a setting a page of another origin may upload and read where it is; pages of others may not (tus: CORS)."""
    system: System = fresh_backend(env={"NEXMDM_PLATFORM_CORS_ORIGINS": PAGE})
    zone = Platform(system).zone()
    upload = begin(zone, "/a", 11)
    transport = HttpxTransport(system.target.base_url)
    page = Client(transport)
    try:
        for origin, status in ((PAGE, 200), ("https://evil.example", 400)):
            asked = {"Origin": origin, "Access-Control-Request-Method": "PATCH"}
            asked["Access-Control-Request-Headers"] = "authorization, tus-resumable, upload-offset, content-type"
            answer = page.request("OPTIONS", upload.url, headers=asked)
            assert (answer.status, "access-control-allow-origin" in answer.headers) == (status, status == 200)
        shown = page.bearer(zone.key, "HEAD", upload.url, headers=[VERSION, ("Origin", PAGE)])
        exposed = {name.strip().lower() for name in shown.headers["access-control-expose-headers"].split(",")}
        assert {"location", "upload-offset", "upload-length", "upload-expires", "tus-resumable"} <= exposed
    finally:
        transport.close()
