"""How uploads end without a file: given up, run out, deleted with their zone. Their bytes and their quota are free."""

from functools import partial

import pytest

from acceptance.platform.test_teardown import ZONE_LOCK
from acceptance.platform.zones import KIB, Platform
from acceptance.suite.case import case
from acceptance.system.locks import race_after
from acceptance.system.match import accepted, refused
from acceptance.system.system import FreshBackend, System
from harness.platform.uploads import begin
from harness.platform.zone import ZONES, Zone
from harness.waiting import eventually

OVERDUE = "update uploads set expires_at = now() - interval '1 second' where zone_id = %(zone)s"


@pytest.fixture
def sweeping(fresh_backend: FreshBackend) -> Platform:
    """A platform whose jobs run every 200 ms."""
    return Platform(fresh_backend(env={"NEXMDM_PLATFORM_SWEEP_EVERY_S": "0.2"}))


@case("upload-ends/001", "terminateUpload 204", "terminateUpload 404", "getUpload 404", "appendToUpload 404")
def test_an_upload_that_is_given_up(zone: Zone, platform: Platform, system: System) -> None:
    """DELETE gives bytes and quota back, with an event; the upload is a 404 from then on (tus: termination)."""
    zone.write("/a", "of before")
    upload = begin(platform.agent(zone.zone_id, "worker-7"), "/a", 100, content=b"x" * 20)
    assert upload.seen_by(zone).terminate().status == 204
    system.logs.wait("platform.upload.terminated", zone_id=zone.zone_id, upload_id=upload.id, level="INFO")
    with platform.unchanged():
        refused(upload.terminate(), 404, "upload_not_found")
        refused(upload.append(b"x", 20), 404, "upload_not_found")
        assert upload.look().status == 404
    assert [event["type"] for event in zone.log()] == ["zone.created", "write", "upload.created", "upload.terminated"]
    assert zone.read("/a") == b"of before"
    assert (zone.usage()["max_uploads_open"], platform.reserved(zone.zone_id)) == (0, 0)
    platform.adds_up(zone.zone_id)
    platform.loses_nothing(zone.zone_id)


@case("upload-ends/002", "getUpload 404", "appendToUpload 404", "readFile result")
def test_an_upload_that_has_run_out(sweeping: Platform) -> None:
    """An upload whose time is over is a 404 at once, and given up in each zone; a finished one is forgotten (tus)."""
    zones = [sweeping.zone() for _ in range(2)]
    begun = [begin(zone, "/open", 100 * KIB, content=b"x" * KIB) for zone in zones]
    finished = [begin(zone, "/finished", KIB, content=b"y" * KIB) for zone in zones]
    other = sweeping.zone()
    lives = begin(other, "/open", 100 * KIB, content=b"x" * KIB)
    for zone in zones:
        sweeping.write(OVERDUE, zone=zone.zone_id)
    for upload in (*begun, *finished):
        assert upload.look().status == 404
        refused(upload.append(b"x", KIB), 404, "upload_not_found")
    for zone, upload in zip(zones, begun, strict=True):
        eventually(lambda: "uploads" not in sweeping.rows(zone.zone_id), within_s=5.0, what="the end of it")  # noqa: B023
        sweeping.system.logs.wait("platform.upload.expired", zone_id=zone.zone_id, upload_id=upload.id, level="INFO")
        types = [event["type"] for event in zone.log()]
        assert types[-1:] == ["upload.terminated"]
        assert types.count("upload.terminated") == 1
        eventually(lambda: len(sweeping.objects(sweeping.folder(zone.zone_id))) == 1, within_s=5.0)  # noqa: B023
        assert zone.read("/finished") == b"y" * KIB
        assert (zone.usage()["max_uploads_open"], sweeping.reserved(zone.zone_id)) == (0, 0)
        sweeping.adds_up(zone.zone_id)
    assert lives.appended(b"x", KIB) == KIB + 1
    assert sweeping.rows(other.zone_id)["upload_parts"] == 2


@case("upload-ends/003", "deleteZone 202", "appendToUpload 401")
def test_a_zone_with_uploads_is_deleted(platform: Platform) -> None:
    """Of a zone that ends while uploads are open no upload, part or object is left (platform.md: delete a zone)."""
    zone, bystander = platform.zone(), platform.zone()
    begun = [begin(zone, f"/{n}", 100, content=b"x" * 20) for n in range(3)]
    beside = begin(bystander, "/a", 21, content=b"x" * 20)
    folder = platform.folder(zone.zone_id)
    assert {"uploads", "upload_parts"} <= platform.rows(zone.zone_id).keys()
    platform.remove(zone.zone_id)
    assert platform.rows(zone.zone_id) == {}
    assert not folder.exists()
    refused(begun[0].append(b"x", 20), 401, "token_invalid")
    beside.appended(b"x", 20)
    assert bystander.read("/a") == b"x" * 21


@case("upload-ends/004", "appendToUpload 409", "deleteZone 202")
def test_a_last_byte_races_with_the_end_of_the_zone(two_workers: System, platform_of_two: Platform) -> None:
    """Last bytes that race with the deletion are before it or refused; of none is anything left (004)."""
    platform = platform_of_two
    zone = platform.zone()
    begun = [begin(zone, f"/{n}", 21, content=b"x" * 20) for n in range(4)]
    folder = platform.folder(zone.zone_id)
    calls = [partial(upload.append, b"x", 20) for upload in begun]
    calls.insert(2, partial(platform.admin, "DELETE", f"{ZONES}/{zone.zone_id}"))
    answers = race_after(two_workers, calls, ZONE_LOCK, zone.zone_id)
    accepted(answers.pop(2), 202)
    assert {answer.status for answer in answers} <= {204, 409, 401}
    platform.gone(zone.zone_id)
    assert platform.rows(zone.zone_id) == {}
    assert not folder.exists()


@case("upload-ends/005", "appendToUpload 409")
def test_two_lengths_at_once(two_workers: System, platform_of_two: Platform) -> None:
    """Of two PATCHes that tell different lengths one at most goes on; exactly one length is reserved (platform.md)."""
    platform = platform_of_two
    for _ in range(5):
        zone = platform.zone()
        upload = begin(zone, "/a", None)
        calls = [partial(upload.append, b"x", 0, ("Upload-Length", str(size))) for size in (10, 20)]
        answers = race_after(two_workers, calls, "select from uploads where upload_id = %s for update", upload.id)
        assert sorted(answer.status for answer in answers) in ([204, 409], [409, 409])
        assert platform.reserved(zone.zone_id) == int(upload.look().headers["upload-length"])
