"""Uploads that are refused: headers that are malformed or lie, quotas, targets. Each changes nothing."""

from acceptance.access.requests import UNKNOWN
from acceptance.platform.zones import Platform, denied
from acceptance.suite.case import case
from acceptance.system.match import refused
from acceptance.system.raw import Raw
from harness.platform.uploads import AS_CHUNK, UPLOADS, VERSION, Upload, begin, create, length, metadata
from harness.platform.zone import ZONES, Zone

ONE = ("Upload-Length", "1")
AT_A = metadata("/a")
MALFORMED = [
    ("path L2E= x",), ("path L2E=,",), ("path L2E=,,b",), ("path L2E",), ("path ~~~~",), ("path L2E=,path L2E=",),
    ("pa\u00e9th L2E=",), (",path L2E=",), ("path L2E=", "path L2E="), ("path L2E=,x " + "A" * 8192,),
]  # fmt: skip
NO_PATHS = [b"/", b"a", b"/a/../b", b"/a//b", b"/\xff", b"/a\0", b"/" + b"x" * 256, b"/x" * 600]


@case("upload-refusals/001", "* 412")
def test_another_version(zone: Zone, platform: Platform) -> None:
    """Without Tus-Resumable, with another one or with two, each request is a 412 that says which there is (tus)."""
    upload = begin(zone, "/a", 11)
    with platform.unchanged():
        for given in ([], ["0.2.2"], ["1.0.0", "1.0.0"], ["1.0.0.0"], [""]):
            headers = [("Tus-Resumable", value) for value in given]
            answers = [
                zone.request("POST", UPLOADS, headers=[*headers, ONE, AT_A]),
                zone.request("HEAD", upload.url, headers=headers),
                zone.request("PATCH", upload.url, headers=[*headers, AS_CHUNK, ("Upload-Offset", "0")], content=b"x"),
                zone.request("DELETE", upload.url, headers=headers),
            ]
            for answer in answers:
                assert (answer.status, answer.headers["tus-version"]) == (412, "1.0.0")
            refused(answers[0], 412, "tus_version_unsupported")


@case("upload-refusals/002", "createUpload 422", "createUpload 413", "createUpload 400")
def test_a_creation_that_is_malformed(zone: Zone, platform: Platform) -> None:
    """A creation whose length, metadata or path is none is refused, and nothing is begun (tus: creation)."""
    with platform.unchanged():
        for wrong in ("-1", "+1", "1.5", "01", "", "x", str(2**63), "9" * 30):
            refused(create(zone, ("Upload-Length", wrong), AT_A), 422, "validation_error")
        for lengths in ([], [ONE, ONE], [ONE, length(None)], [("Upload-Defer-Length", "2")], [length(None)] * 2):
            refused(create(zone, *lengths, AT_A), 422, "validation_error")
        refused(create(zone, length(2**40 + 1), AT_A), 413, "payload_too_large")
        for values in MALFORMED:
            given = [("Upload-Metadata", value) for value in values]
            refused(create(zone, ONE, *given), 400, "upload_metadata_invalid")
        refused(create(zone, ONE), 422, "validation_error")
        for without in ("filename L2E=", "path", ""):
            refused(create(zone, ONE, ("Upload-Metadata", without)), 422, "validation_error")
        for path in NO_PATHS:
            refused(create(zone, ONE, metadata(path)), 422, "validation_error")
        twice = zone.request("POST", UPLOADS, headers=[VERSION, ONE, AT_A], params=[("cursor", "1"), ("cursor", "2")])
        refused(twice, 422, "validation_error")


@case("upload-refusals/003", "appendToUpload 409", "appendToUpload 415", "appendToUpload 422", "appendToUpload 413")
def test_a_chunk_that_lies(zone: Zone, platform: Platform, raw: Raw) -> None:
    """A chunk of another type, at another offset, or beyond the end is refused, and the offset stays (tus: PATCH)."""
    upload = begin(zone, "/a", 11, content=b"of the")
    with platform.unchanged():
        for offset in (0, 5, 7, 11, 2**62):
            refused(upload.append(b" text", offset), 409, "upload_offset_mismatch")
        for wrong in ("-1", "6.0", "06", "", "six", "0x6", str(2**63)):
            given = [VERSION, AS_CHUNK, ("Upload-Offset", wrong)]
            answer = zone.request("PATCH", upload.url, headers=given, content=b" text")
            refused(answer, 422, "validation_error")
        missing = zone.request("PATCH", upload.url, headers=[VERSION, AS_CHUNK], content=b"x")
        refused(missing, 422, "validation_error")
        for media_type in ("application/octet-stream", "application/json", "application/offset"):
            given = [VERSION, ("Content-Type", media_type), ("Upload-Offset", "6")]
            answer = zone.request("PATCH", upload.url, headers=given, content=b" text")
            refused(answer, 415, "unsupported_media_type")
        refused(upload.append(b" text", 6, params=[("limit", "1"), ("limit", "2")]), 422, "validation_error")
        refused(upload.append(b" text and more", 6), 413, "payload_too_large")
    key = ("Authorization", f"Bearer {zone.key}")
    given = [key, VERSION, AS_CHUNK, ("Upload-Offset", "6")]
    refused(raw(f"PATCH {upload.url}", *given, body=b" text and more", chunks=2), 413, "payload_too_large")
    assert upload.offset == 6
    platform.loses_nothing(zone.zone_id)
    upload.appended(b" text", 6)


@case("upload-refusals/004", "* 404", "getUpload 422", "terminateUpload 422")
def test_an_upload_that_is_not_there(zone: Zone, platform: Platform) -> None:
    """An id that is none, is unknown, or is another zone's is a 404 of each operation (platform.md: isolation)."""
    upload = begin(zone, "/a", 11)
    other = platform.zone()
    with platform.unchanged():
        for url in (f"{UPLOADS}/{UNKNOWN}", f"{UPLOADS}/x", f"{UPLOADS}/{upload.id.upper()}", upload.url):
            caller = other if url == upload.url else zone
            one = Upload(caller, url)
            assert one.look().status == 404
            refused(one.append(b"x", 0), 404, "upload_not_found")
            refused(one.terminate(), 404, "upload_not_found")
        twice = [("limit", "1"), ("limit", "2")]
        assert upload.look(params=twice).status == 422
        refused(upload.terminate(params=twice), 422, "validation_error")
    assert upload.offset == 0


@case("upload-refusals/005", "createUpload 413", "appendToUpload 413", "terminateUpload 204")
def test_a_quota_is_reserved(platform: Platform) -> None:
    """An upload holds its bytes from the creation on: neither a file nor another upload may take them (004)."""
    limited = platform.zone(limits={"max_storage_bytes": 100, "max_files": 2, "max_uploads_open": 2})
    upload = begin(limited, "/a", 60, content=b"x" * 20)
    with platform.unchanged():
        denied(limited, -32010, "quota_exceeded", "write", path="/b", content="x" * 41)
        for size in (41, None):
            problem = refused(create(limited, length(size), metadata("/b")), 413, "quota_exceeded")
            assert problem["limit"] == "max_storage_bytes"
    limited.write("/b", "x" * 40)
    upload.appended(b"x" * 40, 20)
    platform.adds_up(limited.zone_id)
    limited.rpc("delete", path="/b")
    second = begin(limited, "/b", 10)
    assert second.terminate().status == 204
    first, second = begin(limited, "/b", 10), begin(limited, "/c", 10)
    problem = refused(create(limited, length(10), metadata("/d")), 413, "quota_exceeded")
    assert problem["limit"] == "max_uploads_open"
    first.appended(b"x" * 10, 0)
    before = limited.usage(), len(limited.log())
    assert refused(second.append(b"x" * 10, 0), 413, "quota_exceeded")["limit"] == "max_files"
    assert (limited.usage(), len(limited.log()), second.offset) == (*before, 0)
    platform.loses_nothing(limited.zone_id)
    platform.admin("PATCH", f"{ZONES}/{limited.zone_id}", json={"limits": {"max_files": 3}})
    second.appended(b"x" * 10, 0)
    assert platform.reserved(limited.zone_id) == 0
    platform.adds_up(limited.zone_id)


@case("upload-refusals/006", "createUpload 409", "appendToUpload 409", "appendToUpload 204")
def test_a_target_that_is_blocked(zone: Zone, platform: Platform) -> None:
    """Where no file can be none is begun; blocked at the end the last part is not taken and may come again (api)."""
    zone.rpc("mkdir", path="/directory")
    zone.write("/file", "text")
    zone.write("/implicit/file", "text")
    with platform.unchanged():
        for path in ("/directory", "/file/below", "/implicit"):
            refused(create(zone, ONE, metadata(path)), 409, "upload_target_blocked")
    for path, block, unblock in (
        ("/later", ("mkdir", {"path": "/later"}), ("rmdir", {"path": "/later"})),
        ("/d/e", ("write", {"path": "/d", "content": ""}), ("delete", {"path": "/d"})),
        ("/f", ("write", {"path": "/f/g", "content": ""}), ("delete", {"path": "/f/g"})),
    ):
        upload = begin(zone, path, 11, content=b"of the")
        zone.rpc(block[0], **block[1])
        refused(upload.append(b" text", 6), 409, "upload_target_blocked")
        assert upload.offset == 6
        platform.loses_nothing(zone.zone_id)
        zone.rpc(unblock[0], **unblock[1])
        upload.appended(b" text", 6)
        assert zone.read(path) == b"of the text"
    platform.adds_up(zone.zone_id)


@case("upload-refusals/007", "appendToUpload 503", "createUpload 503")
def test_the_store_is_away(zone: Zone, platform: Platform) -> None:
    """Bytes that cannot be stored are a 503, the offset stays, and the upload goes on later (issue 17)."""
    upload = begin(zone, "/a", 11)
    with platform.store.away():
        refused(upload.append(b"of the", 0), 503, "dependency_unavailable")
        created = create(zone, length(6), metadata("/b"), AS_CHUNK, content=b"of the")
        refused(created, 503, "dependency_unavailable")
        assert upload.offset == 0
    assert platform.reserved(zone.zone_id) == 11
    upload.appended(b"of the text", 0)
    assert zone.read("/a") == b"of the text"
