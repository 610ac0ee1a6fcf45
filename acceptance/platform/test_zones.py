"""Zones: made, changed, listed and ended by whom they may be, and chosen by a header."""

from functools import partial
from typing import Any

from acceptance.platform.zones import STEPS, Platform, denied, new_zone_id
from acceptance.suite.case import case
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.raw import Raw
from acceptance.system.system import System
from acceptance.system.web_workers import background_process, frozen, race
from harness.platform.rpc import request
from harness.platform.zone import EVENTS, RPC, ZONES, Zone

LAST_EVENT = "select type from events where zone_id = %s order by sequence_number desc limit 1"


@case("zones/001", "createZone 201", "getZone 200")
def test_a_zone_is_made(system: System, platform: Platform) -> None:
    """A new zone is shown as it was made, active and empty, with its line and its first event (004: namespace/001)."""
    zone_id = new_zone_id()
    given = {"name": "Corp \u00e9", "domain": "corp.example", "description": "all of it", "owner": "ann"}
    answer = platform.create(zone_id, **given)
    made = accepted(answer, 201)
    names = ("max_storage_bytes", "max_files", "max_agents", "max_tasks_queued", "max_uploads_open")
    assert made == given | {
        "zone_id": zone_id,
        "phase": "Active",
        "status": "Active",
        "finalizers": [],
        "limits": dict.fromkeys(names),
        "usage": dict.fromkeys(names, 0),
        "created_at": made["created_at"],
        "updated_at": made["updated_at"],
    }
    system.logs.expect(answer, "platform.zone.created", zone_id=zone_id)
    assert accepted(platform.admin("GET", f"{ZONES}/{zone_id}")) == made
    zone = platform.member(zone_id)
    assert accepted(zone.look()) == made
    [event] = zone.log()
    assert (event["type"], event["path"], event["new_path"]) == ("zone.created", "", None)
    drawn = accepted(platform.admin("POST", ZONES, json={"name": "without an id"}), 201)
    assert accepted(platform.admin("GET", f"{ZONES}/{drawn['zone_id']}")) == drawn
    assert (drawn["domain"], drawn["description"], drawn["owner"]) == (None, None, None)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"name": None}, "/name"),
    "an empty name": ({"name": ""}, "/name"),
    "a long name": ({"name": "n" * 5000}, "/name"),
    "NUL in a name": ({"name": "a\0"}, "/name"),
    "a short id": ({"zone_id": "ab"}, "/zone_id"),
    "a long id": ({"zone_id": "a" * 64}, "/zone_id"),
    "capitals": ({"zone_id": "Corp"}, "/zone_id"),
    "a hyphen first": ({"zone_id": "-corp"}, "/zone_id"),
    "a hyphen last": ({"zone_id": "corp-"}, "/zone_id"),
    "an id with a slash": ({"zone_id": "a/../b"}, "/zone_id"),
    "an id with a line end": ({"zone_id": "corp\n"}, "/zone_id"),
    "a limit below zero": ({"limits": {"max_files": -1}}, "/limits/max_files"),
    "a limit of text": ({"limits": {"max_storage_bytes": "1 GB"}}, "/limits/max_storage_bytes"),
    "a limit beyond 64 bits": ({"limits": {"max_storage_bytes": 2**63}}, "/limits/max_storage_bytes"),
    "an unknown limit": ({"limits": {"max_everything": 1}}, "/limits"),
    "an unknown member": ({"quota": 1}, ""),
}


@case("zones/002", "createZone 409", "createZone 422")
def test_a_zone_that_cannot_be_made(zone: Zone, platform: Platform) -> None:
    """A taken id is a 409, and every member that is none a 422 that points to it; nothing is made (api)."""
    with platform.unchanged():
        for taken in ("root", zone.zone_id):
            refused(platform.create(taken), 409, "zone_exists")
        for name, (members, pointer) in WRONG.items():
            body = {"zone_id": new_zone_id(), "name": "a zone"} | members
            problem = refused(platform.admin("POST", ZONES, json=body), 422, "validation_error")
            assert pointers(problem) == {f"/body{pointer}"}, name


@case("zones/003", "updateZone 200", "updateZone 404", "updateZone 422")
def test_a_zone_is_changed(system: System, zone: Zone, platform: Platform) -> None:
    """An admin changes owner and limits, which has its line and its event; a change of nothing is a 422 (api)."""
    before = accepted(zone.look())
    answer = platform.admin("PATCH", f"{ZONES}/{zone.zone_id}", json={"owner": "ann"})
    after = accepted(answer)
    assert after == before | {"owner": "ann", "updated_at": after["updated_at"]}
    assert after["updated_at"] > before["updated_at"]
    system.logs.expect(answer, "platform.zone.updated", zone_id=zone.zone_id)
    assert [event["type"] for event in zone.log()] == ["zone.created", "zone.updated"]
    with platform.unchanged():
        refused(platform.admin("PATCH", f"{ZONES}/nobody-s", json={"owner": "ann"}), 404, "zone_not_found")
        nothing: list[Any] = []
        for wrong in ({}, {"name": "other"}, {"owner": 1}, {"owner": "\u00e4"}, {"phase": "Active"}, nothing):
            answer = platform.admin("PATCH", f"{ZONES}/{zone.zone_id}", json=wrong)
            refused(answer, 422, "validation_error")


@case("zones/004", "listZones 200", "listZones 422")
def test_zones_are_listed_by_pages(platform: Platform) -> None:
    """The newest come first, by a cursor or by limit and offset as old clients send, never by both (platform.md)."""
    made = [platform.zone().zone_id for _ in range(5)][::-1]

    def page(**params: Any) -> list[str]:
        return [zone["zone_id"] for zone in accepted(platform.admin("GET", ZONES, params=params))["zones"]]

    assert page(limit=5) == made
    assert page(limit=2, offset=1) == made[1:3]
    first = accepted(platform.admin("GET", ZONES, params={"limit": 2}))
    assert [zone["zone_id"] for zone in first["zones"]] == made[:2]
    assert page(limit=3, cursor=first["next_cursor"]) == made[2:]
    assert page(offset=10_000) == []
    with platform.unchanged():
        for name, value in (
            ("limit", 0),
            ("limit", 201),
            ("offset", -1),
            ("offset", 10_001),
            ("cursor", "x"),
            ("cursor", "\0"),
        ):
            problem = refused(platform.admin("GET", ZONES, params={name: value}), 422, "validation_error")
            assert pointers(problem) == {f"/query/{name}"}
        both = {"cursor": first["next_cursor"], "offset": 1}
        refused(platform.admin("GET", ZONES, params=both), 422, "validation_error")


@case("zones/005", "deleteZone 202", "deleteZone 403", "deleteZone 404", "deleteZone 409", "getZone 403", "getZone 404")
def test_who_may_end_a_zone(platform: Platform, zone: Zone) -> None:
    """The owner and an admin end a zone, nobody else; root stays; what is not there is told to admins alone (api)."""
    owner, another = platform.named_key("member", zone.zone_id), platform.zone()
    with platform.unchanged():
        refused(zone.delete_zone(), 403, "admin_required")
        refused(zone.request("DELETE", f"{ZONES}/{another.zone_id}"), 403, "zone_forbidden")
        refused(platform.admin("DELETE", f"{ZONES}/root"), 409, "zone_protected")
        for method in ("GET", "DELETE"):
            for nobody_s in ("nobody-s", "Nobody", "%00", "a" * 300):
                refused(platform.admin(method, f"{ZONES}/{nobody_s}"), 404, "zone_not_found")
            refused(zone.request(method, f"{ZONES}/nobody-s"), 403, "zone_forbidden")
    accepted(platform.admin("PATCH", f"{ZONES}/{zone.zone_id}", json={"owner": owner.name}))
    refused(zone.delete_zone(), 403, "admin_required")
    as_owner = Zone(platform.system.api, owner.secret, zone.zone_id)
    with frozen(background_process(platform.system)):
        assert accepted(as_owner.delete_zone(), 202)["phase"] == "Terminating"
        assert accepted(as_owner.delete_zone(), 202)["phase"] == "Terminating"
    platform.gone(zone.zone_id)


@case("zones/006", "writeFile 409", "readFile 409", "listEvents 409", "createZone 409", "updateZone 409", "getZone 200")
def test_a_zone_that_ends_takes_nothing(platform: Platform, zone: Zone) -> None:
    """While a zone ends it is shown and may be ended again; all else of it is a 409 (platform.md)."""
    zone.write("/a", "text")
    with frozen(background_process(platform.system)):
        accepted(platform.admin("DELETE", f"{ZONES}/{zone.zone_id}"), 202)
        with platform.unchanged():
            shown = accepted(zone.look())
            assert (shown["phase"], shown["status"]) == ("Terminating", "Terminating")
            assert [one["name"] for one in shown["finalizers"]] == STEPS
            assert platform.system.db.value(LAST_EVENT, zone.zone_id) == "zone.terminating"
            for caller in (zone, platform.as_admin(zone.zone_id)):
                for method, params in (("write", {"path": "/b", "content": ""}), ("read", {"path": "/a"})):
                    refused(caller.call(method, **params), 409, "zone_terminating")
                refused(caller.batch([request("exists", ["/a"])]), 409, "zone_terminating")
                for path in (EVENTS, f"{EVENTS}/replay", f"{EVENTS}/stream"):
                    refused(caller.request("GET", path), 409, "zone_terminating")
            refused(platform.create(zone.zone_id), 409, "zone_exists")
            patch = platform.admin("PATCH", f"{ZONES}/{zone.zone_id}", json={"owner": "ann"})
            refused(patch, 409, "zone_terminating")
    platform.gone(zone.zone_id)


@case("zones/007", "listEvents 400", "readFile 403", "readFile 404", "readFile not_found")
def test_a_header_chooses_the_zone(platform: Platform, zone: Zone, raw: Raw) -> None:
    """The header chooses among the zones of the key: an admin's are all, root without it, a member's its own (api)."""
    path = f"/{zone.zone_id}"
    zone.write(path, "of the zone")
    admin = Zone(platform.system.api, platform.admin_key, "root")
    denied(admin, -32000, "not_found", "read", path=path)
    admin.write(path, "of root")
    assert platform.as_admin(zone.zone_id).read(path) == b"of the zone"
    assert platform.as_admin("root").read(path) == admin.read(path) == b"of root"
    admin.rpc("delete", path=path)
    named = Zone(platform.system.api, zone.key, zone.zone_id, headers=[("X-Nexus-Zone-ID", zone.zone_id)])
    assert named.read(path) == b"of the zone"
    another = platform.zone().zone_id
    with platform.unchanged():
        for other in ("root", another, "nobody-s", "../root", "a" * 300):
            headers = [("X-Nexus-Zone-ID", other)]
            refused(
                Zone(platform.system.api, zone.key, other, headers=headers).call("read", path=path),
                403,
                "zone_forbidden",
            )
        refused(platform.as_admin("nobody-s").call("read", path=path), 404, "zone_not_found")
        twice = [("X-Nexus-Zone-ID", zone.zone_id)] * 2
        answer = raw(f"GET {EVENTS}", ("Authorization", f"Bearer {zone.key}"), *twice)
        refused(answer, 400, "zone_id_invalid")


@case("zones/008", "writeFile 400", "writeFile 403", "writeFile result")
def test_a_header_names_the_agent(platform: Platform, zone: Zone, raw: Raw) -> None:
    """The events of a request have the agent that its header names; an agent's key names its own alone (api)."""
    agent = platform.agent(zone.zone_id, "worker-7")
    body = request("write", ["/a", "text"])
    for caller, named in ((zone, "A.b_c:d-1"), (zone, "a" * 128), (agent, "worker-7")):
        accepted(caller.request("POST", f"{RPC}/write", json=body, headers=[("X-Agent-Id", named)]))
        assert zone.log()[-1]["agent_id"] == named
    agent.write("/a", "text")
    assert zone.log()[-1]["agent_id"] == "worker-7"
    with platform.unchanged():
        for wrong in ("", "a b", "a/b", "a" * 129, "\xe4"):
            refused(
                zone.request("POST", f"{RPC}/write", json=body, headers=[("X-Agent-Id", wrong)]),
                400,
                "agent_id_invalid",
            )
        twice = [("Authorization", f"Bearer {zone.key}"), *[("X-Agent-Id", "a")] * 2]
        refused(raw(f"GET {EVENTS}", *twice), 400, "agent_id_invalid")
        for other in ("worker-8", "WORKER-7"):
            answer = agent.request("POST", f"{RPC}/write", json=body, headers=[("X-Agent-Id", other)])
            refused(answer, 403, "agent_forbidden")


@case("zones/009", "createZone 409")
def test_of_zones_with_one_id_one_is_made(two_workers: System, platform_of_two: Platform) -> None:
    """Of 8 requests for one id at once, through two workers, one is 201 and the others are 409 (platform.md)."""
    zone_id = new_zone_id()
    answers = race(two_workers, [partial(platform_of_two.create, zone_id)] * 8)
    assert sorted(answer.status for answer in answers) == [201, *[409] * 7]
    assert [event["type"] for event in platform_of_two.member(zone_id).log()] == ["zone.created"]


@case("zones/010", "getPlatformHealth 200")
def test_health_is_open(system: System) -> None:
    """Whether the service lives is told to anybody (004: server)."""
    assert accepted(system.api.request("GET", "/health")) == {"status": "healthy"}
