"""Parts of the platform that are unmounted: they refuse, in every worker, and the others go on."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from acceptance.access.requests import UNKNOWN
from acceptance.platform.agents import AGENTS
from acceptance.platform.bricks import BRICKS, NAMES, NEEDED_BY, NEEDS, act, looked_at, unmounted
from acceptance.platform.streams import following
from acceptance.platform.test_claims import waiting
from acceptance.platform.test_rpc import METHODS
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.locks import race_after
from acceptance.system.match import accepted, refused
from acceptance.system.system import System
from acceptance.system.web_workers import both, race
from harness.http.client import Answer
from harness.platform.rpc import request
from harness.platform.tasks import SCHEDULER, Tasks
from harness.platform.uploads import UPLOADS
from harness.platform.zone import EVENTS, RPC, SYNC, ZONES

CALLS = {
    "files": [("POST", RPC), *(("POST", f"{RPC}/{method}") for method in METHODS[:8])],
    "agents": [
        *(("POST", f"{RPC}/{method}") for method in METHODS[8:16]),
        ("GET", AGENTS),
        *(("GET", f"{AGENTS}/worker-7/{part}") for part in ("spec", "status")),
        ("PUT", f"{AGENTS}/worker-7/spec"),
        ("POST", f"{AGENTS}/worker-7/warmup"),
    ],
    "mounts": [("POST", f"{RPC}/{method}") for method in METHODS[16:]],
    "events": [("GET", EVENTS), ("GET", f"{EVENTS}/replay"), ("GET", f"{EVENTS}/stream")],
    "scheduler": [
        *(("POST", f"{SCHEDULER}/{name}") for name in ("submit", "classify", "claim")),
        *(("POST", f"{SCHEDULER}/task/{UNKNOWN}/{name}") for name in ("heartbeat", "complete", "fail", "cancel")),
        *(("GET", f"{SCHEDULER}/{name}") for name in (f"task/{UNKNOWN}", "metrics")),
    ],
    "sync": [
        *(("POST", f"{SYNC}/{name}") for name in ("mounts//push", "mounts/m/push", f"conflicts/{UNKNOWN}/resolve")),
        *(("GET", f"{SYNC}/{name}") for name in ("runs", "conflicts", f"conflicts/{UNKNOWN}")),
    ],
    "uploads": [("POST", UPLOADS), *((method, f"{UPLOADS}/{UNKNOWN}") for method in ("HEAD", "PATCH", "DELETE"))],
}
RACERS = 20
# From each state by each action: whether the part is mounted then, and the events that tell it.
BECOMES: dict[tuple[str, str], tuple[str, list[str]]] = {
    ("active", "mount"): ("active", []),
    ("active", "remount"): ("active", ["brick.unmounted", "brick.mounted"]),
    ("active", "unmount"): ("unmounted", ["brick.unmounted"]),
    ("unmounted", "mount"): ("active", ["brick.mounted"]),
    ("unmounted", "remount"): ("active", ["brick.mounted"]),
    ("unmounted", "unmount"): ("unmounted", []),
}


@case("bricks/001", "* 503", "unmountBrick 200", "mountBrick 200")
@pytest.mark.parametrize("name", CALLS)
def test_an_unmounted_part_refuses(name: str, two_workers: System, platform_of_two: Platform) -> None:
    """Each operation of an unmounted part is a 503 in every worker, from the commit on; others go on (platform.md)."""
    platform = platform_of_two
    zone = platform.zone()
    zone.write("/a", "text")
    with unmounted(platform, name):
        with both(two_workers), platform.unchanged():
            for method, path in CALLS[name] * 2:
                body = request("exists", ["/a"]) if method == "POST" else None
                answer = zone.request(method, path, json=body)
                assert answer.status == 503, (method, path)
                if method != "HEAD":
                    refused(answer, 503, "brick_unmounted")
            accepted(zone.request("GET", f"{ZONES}/{zone.zone_id}"))
        if name == "events":
            zone.write("/b", "text")
    assert [event["path"] for event in zone.log()][1:] == ["/a", "/b"][: 1 + (name == "events")]
    assert zone.read("/a") == b"text"


@case("bricks/002", "getBricksHealth 200", "getBrick 200", "getBrick 404")
def test_every_worker_tells_the_state(two_workers: System, platform_of_two: Platform) -> None:
    """The parts are listed, dependents first; what is unmounted is neither active nor failed, at every worker (004)."""
    platform = platform_of_two
    with unmounted(platform, "scheduler"), both(two_workers), platform.unchanged():
        for _ in range(2):
            health = accepted(platform.admin("GET", f"{BRICKS}/health"))
            assert [brick["name"] for brick in health["bricks"]] == [*NAMES]
            assert (health["total"], health["active"], health["failed"]) == (len(NAMES), len(NAMES) - 1, 0)
            for brick in health["bricks"]:
                name, is_away = brick["name"], brick["name"] == "scheduler"
                assert (brick["state"], brick["error"]) == ("unmounted" if is_away else "active", None)
                assert (brick["started_at"] is None, brick["stopped_at"] is None) == (is_away, not is_away)
                assert (brick["needs"], brick["needed_by"]) == (NEEDS.get(name, []), NEEDED_BY.get(name, []))
                assert looked_at(platform, name) == brick
        for unknown in ("nothing", "FILES", "files%00", "%F0%9F%A7%B1"):
            refused(platform.admin("GET", f"{BRICKS}/{unknown}"), 404, "brick_not_found")


@case("bricks/003", "mountBrick 200", "unmountBrick 200", "remountBrick 200")
@pytest.mark.parametrize("state, action", BECOMES)
def test_each_action_from_each_state(state: str, action: str, platform: Platform, system: System) -> None:
    """What changes a part has its events in root and its lines; a repeat is 200, and tells nothing (004)."""
    name, (becomes, told) = "agents", BECOMES[state, action]
    root, logs = platform.as_admin("root"), system.logs
    try:
        accepted(act(platform, name, "mount" if state == "active" else "unmount"))
        before, seen = looked_at(platform, name), len(root.log(path_prefix=name))
        if told:
            answer = act(platform, name, action)
        else:
            with platform.unchanged():
                answer = act(platform, name, action)
        assert accepted(answer) == {"name": name, "action": action, "state": becomes, "error": None}
        assert [event["type"] for event in root.log(path_prefix=name)[seen:]] == told
        for event in ("brick.mounted", "brick.unmounted"):
            lines = logs.of(answer, f"platform.{event}")
            assert [(line["brick"], line["action"], line["level"]) for line in lines] == [
                (name, action, "INFO") for one in told if one == event
            ]
        after = looked_at(platform, name)
        assert after["state"] == becomes
        assert (before == after) == (not told)
        since = "started_at" if becomes == "active" else "stopped_at"
        assert not told or after[since] > (before["started_at"] or before["stopped_at"])
    finally:
        accepted(act(platform, name, "mount"))


@case(
    "bricks/004",
    "unmountBrick 409",
    "mountBrick 409",
    "remountBrick 409",
    "mountBrick 404",
    "unmountBrick 404",
    "remountBrick 404",
)
def test_a_part_that_another_needs(platform: Platform) -> None:
    """What a mounted part needs is not unmounted, what needs an unmounted one not mounted; 404 for no part (004)."""
    [needs] = NEEDS["uploads"]
    with platform.unchanged():
        refused(act(platform, needs, "unmount"), 409, "brick_in_use")
        for action in ("mount", "unmount", "remount"):
            refused(act(platform, "files%00", action), 404, "brick_not_found")
            refused(act(platform, "nothing", action), 404, "brick_not_found")
    assert accepted(act(platform, needs, "remount"))["state"] == "active"
    with unmounted(platform, needs):
        with platform.unchanged():
            for action in ("mount", "remount"):
                refused(act(platform, "uploads", action), 409, "brick_needs_another")
        assert accepted(act(platform, needs, "remount"))["state"] == "active"


@case("bricks/005", "unmountBrick 200", "mountBrick 200")
def test_a_part_and_its_dependent_race(two_workers: System, platform_of_two: Platform) -> None:
    """Unmounting a part against mounting what needs it, both half done or 20 at once: one wins, is told once (004)."""
    platform, [needs] = platform_of_two, NEEDS["sync"]
    calls = [partial(act, platform, *one) for one in ((needs, "unmount"), ("sync", "mount"))] * (RACERS // 2)
    root = platform.as_admin("root")
    # Both have changed their parts, and wait for their events' place in the log.
    half_done = partial(race_after, two_workers, calls[:2], "select from zones where zone_id = 'root' for update")
    for run in (half_done, *[partial(race, two_workers, calls)] * 3):
        accepted(act(platform, "sync", "unmount"))
        seen = len(root.log(path_prefix="sync")) + len(root.log(path_prefix=needs))
        try:
            statuses = [answer.status for answer in run()]
            won = ({200}, {409}) if looked_at(platform, needs)["state"] == "unmounted" else ({409}, {200})
            assert ({*statuses[::2]}, {*statuses[1::2]}) == won
            assert len(root.log(path_prefix="sync")) + len(root.log(path_prefix=needs)) == seen + 1
        finally:
            accepted(act(platform, needs, "mount"))
            accepted(act(platform, "sync", "mount"))


@case("bricks/006", "claimTasks 503", "streamEvents 200")
def test_what_waits_is_ended(two_workers: System, platform_of_two: Platform) -> None:
    """A waiting claim and an open stream end within a second of the unmount, at every worker (platform.md)."""
    platform = platform_of_two
    zone = platform.zone()

    def claim() -> tuple[Answer, float]:
        return Tasks(zone).claim(wait_s=20), time.monotonic()

    with both(two_workers), ThreadPoolExecutor(4) as pool:
        claims = [pool.submit(claim) for _ in range(4)]
        waiting(two_workers, 4)
        with unmounted(platform, "scheduler"):
            began = time.monotonic()
            for one in claims:
                answer, ended = one.result()
                refused(answer, 503, "brick_unmounted")
                assert ended - began < 0.6, "it has looked, and was not told"
    with following(two_workers.api, zone) as stream, unmounted(platform, "events"):
        began = time.monotonic()
        assert stream.rest() == []
        assert time.monotonic() - began < 1.0
