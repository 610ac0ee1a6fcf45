"""What every operation of the platform has in common: which part of a request is judged, in which order, and how."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psycopg
import pytest

from acceptance.access.requests import CALLS, UNKNOWN, Call, is_refused
from acceptance.platform.agents import registered
from acceptance.platform.bricks import BRICKS
from acceptance.platform.mounts import add
from acceptance.platform.test_rpc import METHODS
from acceptance.platform.zones import MIB, Platform, denied
from acceptance.suite.case import case
from acceptance.system.locks import BLOCKED
from acceptance.system.match import accepted, refused
from acceptance.system.raw import Raw
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import background_process, frozen
from harness.http.client import Answer
from harness.platform.rpc import notification
from harness.platform.tasks import SCHEDULER
from harness.platform.zone import RPC, SYNC, ZONES, Zone
from harness.waiting import eventually

OF_THE_PLATFORM = {name: one for name, one in CALLS.items() if one.caller == "zone"}
CHOOSE_A_ZONE = {
    name: one
    for name, one in OF_THE_PLATFORM.items()
    if one.path.startswith(("/api/nfs", "/api/v2")) and not one.path.startswith(BRICKS)
}
TAKE_A_BODY = {name: one for name, one in OF_THE_PLATFORM.items() if one.body is not None}
JSON = ("Content-Type", "application/json")


def line(call: Call, zone: Zone) -> str:
    return f"{call.method} {call.path.format(zone_id=zone.zone_id, key_name='nobody-s')}"


@case("zone-requests/001", "* 400")
def test_a_zone_and_an_agent_are_named_once(zone: Zone, platform: Platform, raw: Raw) -> None:
    """Two zones, two agents, or an agent that is none, are a 400 of each operation in a zone (platform.md)."""
    key = ("Authorization", f"Bearer {zone.key}")
    with platform.unchanged():
        for name, call in CHOOSE_A_ZONE.items():
            twice = raw(line(call, zone), key, *[("X-Nexus-Zone-ID", zone.zone_id)] * 2, JSON, body=b"{")
            is_refused(name, twice, 400, "zone_id_invalid")
            twice = raw(line(call, zone), key, *[("X-Agent-Id", "a")] * 2, JSON, body=b"{")
            is_refused(name, twice, 400, "agent_id_invalid")
            malformed = raw(line(call, zone), key, ("X-Agent-Id", "a b"), JSON, body=b"{")
            is_refused(name, malformed, 400, "agent_id_invalid")


@case("zone-requests/002", "* 400", "* 413", "* 415")
def test_bodies_that_are_not_read(zone: Zone, platform: Platform, raw: Raw) -> None:
    """Too long a body is a 413, another media type a 415, and what is no JSON a 400 where it is not JSON-RPC (api)."""
    key = ("Authorization", f"Bearer {platform.admin_key}")
    with platform.unchanged():
        for call in TAKE_A_BODY.values():
            is_rpc = call.path.startswith(RPC)
            large = raw(line(call, zone), key, JSON, body=b"{", length=16 * MIB + 1 if is_rpc else 65_537)
            refused(large, 413, "payload_too_large")
            other = raw(line(call, zone), key, ("Content-Type", "text/plain"), body=b"{}")
            refused(other, 415, "unsupported_media_type")
            if not is_rpc:
                refused(raw(line(call, zone), key, JSON, body=b"{"), 400, "malformed_json")


@case("zone-requests/003", "* 404")
def test_a_zone_that_is_not_there(platform: Platform, raw: Raw) -> None:
    """An admin who names a zone that is not there is told so by each operation, before its body is read (api)."""
    nobody_s = Zone(platform.system.api, platform.admin_key, "nobody-s")
    headers = [("Authorization", f"Bearer {platform.admin_key}"), ("X-Nexus-Zone-ID", "nobody-s"), JSON]
    with platform.unchanged():
        for name, call in CHOOSE_A_ZONE.items():
            is_refused(name, raw(line(call, nobody_s), *headers, body=b"{"), 404, "zone_not_found")


@case("zone-requests/004", "* 409")
def test_a_zone_that_ends(zone: Zone, platform: Platform, raw: Raw) -> None:
    """Each operation in a zone that ends is a 409 for every caller, before its body is read (platform.md)."""
    with frozen(background_process(platform.system)):
        accepted(platform.admin("DELETE", f"{ZONES}/{zone.zone_id}"), 202)
        with platform.unchanged():
            for name, call in CHOOSE_A_ZONE.items():
                for key in (zone.key, platform.admin_key):
                    headers = [("Authorization", f"Bearer {key}"), ("X-Nexus-Zone-ID", zone.zone_id), JSON]
                    is_refused(name, raw(line(call, zone), *headers, body=b"{"), 409, "zone_terminating")
    platform.gone(zone.zone_id)


@case("zone-requests/005", "* 204")
def test_each_method_takes_notifications(zone: Zone, platform: Platform) -> None:
    """A notification at a method's URL is not answered, not even with an error (JSON-RPC 2.0: 4.1)."""
    with platform.unchanged():
        for method in METHODS:
            answer = zone.request("POST", f"{RPC}/{method}", json=notification(method, {"path": "no path"}))
            assert (answer.status, answer.body) == (204, b""), method


@case("zone-requests/006", "* zone_terminating")
def test_a_zone_that_ends_while_a_call_waits(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """A call that was let in and waits while its zone is closed is refused by the row, and changes nothing (api)."""
    for path in ("/a", "/b", "/c/d"):
        zone.write(path, "text")
    write, delete = partial(zone.call, "write", path="/new", content="text"), partial(zone.call, "delete", path="/a")
    rename = partial(zone.call, "rename", old_path="/b", new_path="/e")
    mkdir, rmdir = partial(zone.call, "mkdir", path="/f"), partial(zone.call, "rmdir", path="/c", recursive=True)
    registered(zone, "agent-1")
    register = partial(zone.call, "register_agent", agent_id="agent-2", name="an agent")
    update = partial(zone.call, "update_agent", agent_id="agent-1", name="another name")
    remove = partial(zone.call, "delete_agent", agent_id="agent-1")
    connect = partial(zone.call, "agent_transition", agent_id="agent-1", target_state="CONNECTED")
    add(zone, "/m", tmp_path / "one")
    add(zone, "/l", tmp_path / "one")
    for method in ("save_mount", "remove_mount"):
        zone.rpc(method, mount_point="/l")
    local = {"backend_type": "local", "backend_config": {"root_path": str(tmp_path / "one")}, "readonly": True}
    mounts = [
        partial(zone.call, "add_mount", mount_point="/n", **local),
        *(partial(zone.call, method, mount_point="/m") for method in ("save_mount", "remove_mount")),
        *(partial(zone.call, method, mount_point="/l") for method in ("load_mount", "delete_saved_mount")),
    ]
    phase = "update zones set phase = %s, terminating_at = %s where zone_id = %s"
    with platform.unchanged():
        for calls in (
            [write, delete, rename],
            [mkdir, rmdir, register],
            [update],
            [remove],
            [connect],
            *([call] for call in mounts),
        ):  # of a zone a process lets in few at a time
            with psycopg.connect(platform.system.target.database_url or "") as owner, ThreadPoolExecutor(3) as pool:
                owner.execute(phase, ["Terminating", "now", zone.zone_id])
                waiting = [pool.submit(call) for call in calls]
                eventually(partial(blocked, platform.system, len(calls)), within_s=4.0)
                owner.commit()
                answers = [one.result() for one in waiting]
                owner.execute(phase, ["Active", None, zone.zone_id])
            assert [refusal(answer) for answer in answers] == [(-32006, "zone_terminating")] * len(calls)


def blocked(system: System, sessions: int) -> bool:
    return bool(system.db.value(BLOCKED) == sessions)


def refusal(answer: Answer) -> tuple[int, str]:
    error = accepted(answer)["error"]
    return error["code"], error["data"]["code"]


@case("zone-requests/007", "renamePath tree_changed", "removeDirectory tree_changed", "deleteFile not_found")
def test_a_tree_that_grows_while_a_call_waits(zone: Zone, platform: Platform) -> None:
    """A rename or removal of a tree that grew since it was read is refused: nothing is left behind in it (api)."""
    for path in ("/moved/a", "/removed/a"):
        zone.write(path, "text")
    calls = [
        partial(zone.call, "rename", old_path="/moved", new_path="/elsewhere"),
        partial(zone.call, "rmdir", path="/removed", recursive=True),
    ]
    grown = """
        insert into files (zone_id, path, kind, size, etag, content)
        select zone_id, replace(path, '/a', '/b'), kind, size, etag, content from files where zone_id = %s
    """
    with psycopg.connect(platform.system.target.database_url or "") as owner, ThreadPoolExecutor(2) as pool:
        owner.execute(
            "update zones set files = files + 2, used_bytes = used_bytes + 8 where zone_id = %s", [zone.zone_id]
        )
        waiting = [pool.submit(call) for call in calls]
        eventually(partial(blocked, platform.system, 2), within_s=4.0)
        owner.execute(grown, [zone.zone_id])
        owner.commit()
        answers = [one.result() for one in waiting]
    assert [refusal(answer) for answer in answers] == [(-32006, "tree_changed")] * 2
    assert zone.paths() == ["/moved/a", "/moved/b", "/removed/a", "/removed/b"]
    assert len(zone.log()) == 3
    platform.adds_up(zone.zone_id)
    denied(zone, -32000, "not_found", "delete", path="/elsewhere/a")


@case("zone-requests/008", "* 422")
@pytest.mark.parametrize("name", ["limit", "cursor"])
def test_a_parameter_stands_once(name: str, platform: Platform) -> None:
    """A query parameter that is given twice is a 422, also where none is known (api.md)."""
    lists = [("GET", path) for path in (ZONES, "/api/keys", "/api/v2/events", "/api/v2/events/replay")]
    others = [("GET", f"{ZONES}/root"), ("DELETE", f"{ZONES}/root"), ("DELETE", "/api/keys/nobody-s")]
    task = f"{SCHEDULER}/task/{UNKNOWN}"
    others += [("GET", task), ("POST", f"{task}/cancel"), ("GET", f"{SCHEDULER}/metrics")]
    others += [("GET", f"{BRICKS}/health"), ("GET", f"{BRICKS}/nothing")]
    others += [("POST", f"{BRICKS}/nothing/{action}") for action in ("mount", "unmount", "remount")]
    others += [("POST", f"{SYNC}/mounts/{point}/push") for point in ("", "nothing")]
    others += [("GET", f"{SYNC}/conflicts/{UNKNOWN}")]
    with platform.unchanged():
        for method, path in (*lists, *others):
            answer = platform.admin(method, path, params=[(name, "1"), (name, "2")])
            refused(answer, 422, "validation_error")


@case("zone-requests/009", "* 429", slow="starts a system")
def test_a_limit_of_each_key(fresh_backend: FreshBackend) -> None:
    """Where a setting says so a key that asks too often is a 429, whatever it asks; no other key is (platform.md)."""
    system: System = fresh_backend(env={"NEXMDM_PLATFORM_LIMIT_KEY": "5/3600"})
    platform = Platform(system)
    zone = platform.zone()
    other = platform.member(zone.zone_id)
    for _ in range(5):
        zone.rpc("exists", path="/")
    with platform.system.db.unchanged():
        for name, operation in CHOOSE_A_ZONE.items():
            answer = zone.request(operation.method, operation.path, json=operation.body)
            is_refused(name, answer, 429, "rate_limited")
            system.logs.expect(answer, "sec.token.ratelimit", rule="platform")
    other.write("/a", "text")


@case("zone-requests/010", "writeFile result")
def test_a_busy_zone_starves_no_other(zone: Zone, platform: Platform) -> None:
    """While 16 changes of a zone wait for one another, more than there are connections, another zone is written to."""
    other = platform.zone()
    with psycopg.connect(platform.system.target.database_url or "") as owner, ThreadPoolExecutor(16) as pool:
        owner.execute("select from zones where zone_id = %s for update", [zone.zone_id])
        waiting = [pool.submit(zone.call, "write", path=f"/{number}", content="text") for number in range(16)]
        eventually(partial(blocked, platform.system, 4), within_s=4.0)
        written = other.call("write", path="/a", content="text")
        assert "result" in accepted(written)
        assert written.elapsed_ms < 1_000, "it waited for a connection"
        owner.commit()
        assert all("result" in accepted(one.result()) for one in waiting)
    assert len(zone.paths()) == 16
