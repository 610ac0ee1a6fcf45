"""The store of large contents: what no file has is swept, nothing that one has is lost, an outage is told."""

from acceptance.platform.test_zone_requests import refusal
from acceptance.platform.zones import MIB, Platform, denied
from acceptance.suite.case import case
from harness.waiting import eventually

UNPINNED = "update objects set pinned_until = now() where zone_id = %(zone)s and pinned_until < 'infinity'"


@case("objects/001", "writeFile result", "deleteFile result", "removeDirectory result", "writeFile quota_exceeded")
def test_what_no_file_has_is_swept(sweeping: Platform) -> None:
    """Parts of replaced, deleted and refused files are removed with their objects; those of others stay (issue 16)."""
    system = sweeping.system
    zones = [sweeping.zone(limits={"max_storage_bytes": 4 * MIB}) for _ in range(2)]
    with system.metrics.moves({"nexmdm_platform_objects_swept_total": 6}, within_s=10.0):
        for zone in zones:
            for path in ("/kept", "/replaced", "/deleted", "/tree/a"):
                zone.write(path, path[1] * MIB)
            zone.write("/replaced", "small")
            zone.rpc("delete", path="/deleted")
            zone.rpc("rmdir", path="/tree", recursive=True)
            denied(zone, -32010, "quota_exceeded", "write", path="/refused", content="x" * 4 * MIB)
        for zone in zones:
            eventually(lambda: len(sweeping.objects(sweeping.folder(zone.zone_id))) == 1, within_s=5.0)  # noqa: B023
    for zone in zones:
        assert zone.read("/kept") == b"k" * MIB
        assert sweeping.rows(zone.zone_id)["objects"] == 1
        sweeping.adds_up(zone.zone_id)
    lines = [line for line in system.logs.since() if line["event"] == "platform.objects.swept"]
    assert sum(line["objects"] for line in lines) == 6


@case("objects/002", "writeFile result", "readFile result")
def test_what_is_pinned_or_taken_is_not_swept(sweeping: Platform) -> None:
    """An object that waits for its file keeps for as long as it is pinned, and one that a file has for good (api)."""
    zone = sweeping.zone()
    zone.write("/kept", "x" * MIB)
    sweeping.write(
        "insert into objects (zone_id, object_id, size, sha256, pinned_until)"
        " values (%(zone)s, gen_random_uuid(), 1, repeat('a', 64), now() + interval '1 hour')",
        zone=zone.zone_id,
    )
    other = sweeping.zone()
    other.write("/gone", "x" * MIB)
    other.rpc("delete", path="/gone")
    eventually(lambda: "objects" not in sweeping.rows(other.zone_id), within_s=5.0, what="a sweep")
    assert sweeping.rows(zone.zone_id)["objects"] == 2
    assert zone.read("/kept") == b"x" * MIB


@case("objects/003", "readFile backend_unavailable", "writeFile backend_unavailable")
def test_the_store_is_away(sweeping: Platform) -> None:
    """While the store cannot be reached large contents are -32011, small ones go on, and nothing changes (issue 16)."""
    platform = sweeping
    zone = platform.zone()
    zone.write("/large", "x" * MIB)
    zone.write("/small", "text")
    with platform.store.away():
        before = list(zone.entries()), zone.usage(), len(zone.log())
        missed = zone.call("read", path="/large")
        assert refusal(missed) == (-32011, "backend_unavailable")
        platform.system.logs.expect(missed, "dependency.unavailable", dependency="objects", level="ERROR")
        denied(zone, -32011, "backend_unavailable", "write", path="/other", content="x" * MIB)
        denied(zone, -32011, "backend_unavailable", "write", path="/small", content="x" * MIB)
        assert (list(zone.entries()), zone.usage(), len(zone.log())) == before
        assert zone.read("/small") == b"text"
        zone.write("/small", "more text")
    assert zone.read("/large") == b"x" * MIB
    zone.write("/other", "x" * MIB)
    platform.adds_up(zone.zone_id)
    assert platform.rows(zone.zone_id)["objects"] == 4, "what may still arrive keeps its row"
    platform.write(UNPINNED, zone=zone.zone_id)
    eventually(lambda: platform.rows(zone.zone_id)["objects"] == 2, within_s=5.0, what="a sweep of what was not stored")
