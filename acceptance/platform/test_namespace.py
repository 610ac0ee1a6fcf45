"""The rows `namespace` of seed 004: zones apart, listed, chosen, held to their quota, and deleted."""

import pytest

from acceptance.platform.agents import found, registered
from acceptance.platform.zones import MIB, STEPS, Platform, denied, new_zone_id
from acceptance.suite.case import case
from acceptance.system import api_keys
from acceptance.system.match import accepted, refused
from acceptance.system.roles import as_app
from acceptance.system.system import System
from acceptance.system.web_workers import both
from harness.platform.zone import EVENTS, ZONES, Zone

pytestmark = [pytest.mark.auto, pytest.mark.namespace]

PATH = "/notes/today.md"
REGISTRY = {"zones", "zone_finalizers"}  # readable whole
MANY = """
    insert into zones (zone_id, name, created_at)
    select %(label)s || '-' || n, 'one of many', now() from generate_series(1, 250) n
"""


@case("namespace/001", "createZone 201", "getZone 200", "getZone 403", "readFile result", "listEvents 403")
@pytest.mark.usefixtures("app_role")
def test_zones_are_isolated(platform: Platform) -> None:
    """One path has another content in each of three zones, and no key of one sees anything of another (004)."""
    zones = [platform.zone() for _ in range(3)]
    for one in zones:
        assert accepted(one.look())["status"] == "Active"
        one.write(PATH, f"of {one.zone_id}")
        one.rpc("mkdir", path="/empty")
        registered(one, "worker-7", capabilities=[one.zone_id])
    assert [one.read(PATH) for one in zones] == [f"of {one.zone_id}".encode() for one in zones]
    first, *others = zones
    with platform.unchanged():
        for other in others:
            for path in (f"{ZONES}/{first.zone_id}", EVENTS, f"{EVENTS}/replay"):
                answer = other.request("GET", path, headers=[("X-Nexus-Zone-ID", first.zone_id)])
                refused(answer, 403, "zone_forbidden")
            forbidden = other.request("GET", f"{ZONES}/{first.zone_id}")
            refused(forbidden, 403, "zone_forbidden")
            assert {event["zone_id"] for event in other.log()} == {other.zone_id}
            assert other.paths() == ["/empty", PATH]
            assert other.rpc("get_agent", agent_id="worker-7")["capabilities"] == [other.zone_id]
            assert found(other, ("capability", first.zone_id)) == []
    sees_nothing_of(platform, first, others[0])


def sees_nothing_of(platform: Platform, one: Zone, other: Zone) -> None:
    """The service's role with the setting of the other zone sees no row of the one, in any table."""
    tables = [table for table in platform.tables() if table not in REGISTRY]
    mine = platform.rows(one.zone_id)
    assert {"files", "events", "agents", "agent_capabilities"} <= mine.keys()
    with as_app(platform.system) as app, app.transaction():
        for zone, sees in ((other, False), (one, True)):
            app.execute("select set_config('nexmdm.zone', %s, true)", [zone.zone_id])
            for table in tables:
                query = f"select count(*) from {table} where zone_id = %s"
                found = app.execute(query.encode(), [one.zone_id]).fetchone()
                assert found == (mine.get(table, 0) if sees else 0,), table


@case("namespace/002", "listZones 200")
def test_the_list_has_every_zone(platform: Platform) -> None:
    """Of 250 zones that are paged while others are made each is listed once; a member sees its own alone (004)."""
    label = new_zone_id()
    platform.write(MANY, label=label)
    try:
        listed: list[str] = []
        more: dict[str, str] = {}
        while True:
            page = accepted(platform.admin("GET", ZONES, params={"limit": 60, **more}))
            listed += [zone["zone_id"] for zone in page["zones"]]
            platform.zone()
            if page["next_cursor"] is None:
                break
            more = {"cursor": page["next_cursor"]}
        assert page["total"] >= 250
        assert len(listed) == len(set(listed))
        assert {one for one in listed if one.startswith(label)} == {f"{label}-{n}" for n in range(1, 251)}
        mine = platform.zone()
        [only] = accepted(mine.request("GET", ZONES))["zones"]
        assert only == accepted(mine.look())
        assert accepted(mine.request("GET", ZONES))["total"] == 1
    finally:
        platform.write("delete from zones where zone_id like %(label)s || '-%%'", label=label)


@case(
    "namespace/003",
    "readFile result",
    "readFile not_found",
    "readFile path_invalid",
    "readFile 401",
    "listEvents 401",
)
def test_the_context_switches_with_every_request(two_workers: System, platform_of_two: Platform) -> None:
    """Requests that alternate between zones stay in theirs, in every worker; no path and no dead key crosses (004)."""
    platform = platform_of_two
    one, other = platform.zone(), platform.zone()
    revoked = api_keys.create(two_workers, role="member", zone=one.zone_id)
    ended = Zone(two_workers.api, revoked.secret, one.zone_id)
    with both(two_workers):
        for zone in (one, other):
            zone.write(PATH, zone.zone_id)
        for _ in range(6):
            for zone in (one, platform.as_admin(other.zone_id), ended, other):
                assert zone.read(PATH) == zone.zone_id.encode()
            accepted(ended.events())
        for path in (f"/zone/{one.zone_id}{PATH}", f"/%2e%2e/{one.zone_id}{PATH}", f"/{one.zone_id}{PATH}"):
            denied(other, -32000, "not_found", "read", path=path)
        for path in (f"/zone/{one.zone_id}/..{PATH}", f"/../{one.zone_id}{PATH}", f"/{PATH}", f"{PATH}\0"):
            denied(other, -32002, "path_invalid", "read", path=path)
        api_keys.revoke(two_workers, revoked.name)
        with platform.unchanged():
            for _ in range(4):
                refused(ended.call("read", path=PATH), 401, "token_invalid")
                refused(ended.events(), 401, "token_invalid")


@case("namespace/004", "writeFile result", "writeFile quota_exceeded", "updateZone 200", "deleteFile result")
@pytest.mark.parametrize("unit", [1, 70_000], ids=["in the row", "in the store"])
def test_a_quota_holds_to_the_byte(unit: int, platform: Platform) -> None:
    """A write up to the limit is taken and one byte more refused without a trace; what is freed may be used (004)."""
    limit = 10 * unit
    zone = platform.zone(limits={"max_storage_bytes": limit})
    zone.write("/a", b"a" * (limit - unit))

    def is_refused(path: str, size: int) -> None:
        before = list(zone.entries()), zone.log(), zone.usage()
        with platform.unchanged():
            error = denied(zone, -32010, "quota_exceeded", "write", path=path, content="x" * size)
        assert error.data["limit"] == "max_storage_bytes"
        assert (list(zone.entries()), zone.log(), zone.usage()) == before
        platform.loses_nothing(zone.zone_id)

    is_refused("/b", unit + 1)
    is_refused("/a", limit + 1)
    zone.write("/b", b"b" * unit)
    is_refused("/c", 1)
    zone.write("/empty", b"")
    assert zone.usage()["max_storage_bytes"] == limit
    zone.write("/a", b"a" * unit)
    zone.write("/c", b"c" * (limit - 2 * unit))
    is_refused("/d", 1)
    zone.rpc("delete", path="/c")
    accepted(platform.admin("PATCH", f"{ZONES}/{zone.zone_id}", json={"limits": {"max_storage_bytes": 0}}))
    is_refused("/a", unit + 1)
    zone.write("/a", b"A" * unit)
    zone.rpc("delete", path="/b")
    zone.rpc("rename", old_path="/a", new_path="/e")
    assert zone.usage()["max_storage_bytes"] == unit
    platform.adds_up(zone.zone_id)


@case("namespace/005", "deleteZone 202", "getZone 404", "getZone 401", "createZone 201")
def test_a_deleted_zone_leaves_nothing(system: System, platform: Platform) -> None:
    """Of a deleted zone no row, object or key is left, and a new one of its id sees nothing of it (004)."""
    zone = platform.zone()
    zone.write("/in/the/row", "text")
    zone.write("/in/the/store", b"b" * MIB)
    zone.rpc("mkdir", path="/empty")
    zone.rpc("delete", path="/in/the/row")
    agent = platform.agent(zone.zone_id, "worker-7")
    agent.write("/of/an/agent", "text")
    registered(zone, "worker-7", capabilities=["python"], generate_api_key=True)
    cursor = accepted(zone.replay(limit=1))["next_cursor"]  # which the next zone of this id will have, too
    folder, bystander = platform.folder(zone.zone_id), platform.zone()
    bystander.write("/in/the/store", b"b" * MIB)
    beside = platform.rows(bystander.zone_id), platform.objects(platform.folder(bystander.zone_id))
    assert {"zones", "files", "events", "objects", "agents", "agent_capabilities"} <= platform.rows(zone.zone_id).keys()
    assert platform.objects(folder)
    answer = platform.admin("DELETE", f"{ZONES}/{zone.zone_id}")
    told = accepted(answer, 202)
    assert (told["phase"], told["status"]) == ("Terminating", "Terminating")
    assert [one["name"] for one in told["finalizers"]] == STEPS
    platform.gone(zone.zone_id)
    assert platform.rows(zone.zone_id) == {}
    assert platform.objects(folder) == []
    assert not folder.exists()
    for caller in (zone, agent):
        refused(caller.look(), 401, "token_invalid")
        refused(caller.call("read", path="/of/an/agent"), 401, "token_invalid")
    assert system.db.value("select count(*) from api_keys where zone = %s and revoked_at is null", zone.zone_id) == 0
    assert (platform.rows(bystander.zone_id), platform.objects(platform.folder(bystander.zone_id))) == beside
    system.logs.wait("platform.zone.deleted", zone_id=zone.zone_id)
    again = platform.zone(zone.zone_id)
    assert again.paths() == found(again) == []
    assert set(again.usage().values()) == {0}
    assert [(event["sequence_number"], event["type"]) for event in again.log()] == [(1, "zone.created")]
    refused(again.replay(cursor=cursor), 422, "validation_error")
    refused(zone.call("read", path="/in/the/store"), 401, "token_invalid")
