"""Claims that wait for a task: they are told of it, hold nothing while they wait, and end when they should."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from acceptance.platform.bricks import act
from acceptance.platform.tasks import claimed, end_lease, leased, submitted
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system import api_keys
from acceptance.system.match import accepted, refused
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import both
from harness.http.client import Answer
from harness.platform.tasks import Tasks
from harness.platform.zone import ZONES, Zone
from harness.waiting import eventually

WAITING = "nexmdm_platform_claims_waiting"


def waiting(system: System, claims: int) -> None:
    """Return when so many claims wait."""
    eventually(lambda: system.metrics.total(WAITING) == claims, within_s=5.0, what=f"{claims} claims that wait")


@case("claims/001", "claimTasks 200", "submitTask 201")
def test_a_claim_is_told_of_a_task(two_workers: System, platform_of_two: Platform) -> None:
    """A claim that waits gets a task soon after another worker has stored it; after its time it gets none (api)."""
    zone = platform_of_two.zone()
    tasks = Tasks(zone)
    started = time.monotonic()
    assert claimed(tasks, wait_s=0.3) == []
    assert 0.3 <= time.monotonic() - started < 3
    took = []
    with platform_of_two.apart(zone) as apart, ThreadPoolExecutor(1) as pool, both(two_workers):
        for _ in range(6):
            claim = pool.submit(claimed, Tasks(apart), wait_s=20, limit=5)
            waiting(two_workers, 1)
            task = submitted(tasks)
            began = time.monotonic()
            assert [one["id"] for one in claim.result()] == [task["id"]]
            took.append(time.monotonic() - began)
    assert sorted(took)[2] < 0.4, "it has looked, and was not told"
    waiting(two_workers, 0)


@case("claims/002", "claimTasks 200")
def test_a_claim_looks_by_itself(zone: Zone, platform: Platform, system: System) -> None:
    """A claim that waits gets also what nobody tells of: a retry that falls due, a lease that has ended (api)."""
    tasks = Tasks(zone)
    lease = leased(tasks, backoff_base_s=1.6)
    accepted(tasks.fail(lease))
    began = time.monotonic()
    assert [one["id"] for one in claimed(tasks, wait_s=20)] == [lease["id"]]
    assert time.monotonic() - began < 10
    expiring = leased(tasks, executor="other", backoff_base_s=0)
    with ThreadPoolExecutor(1) as pool, platform.apart(zone) as apart:
        claim = pool.submit(claimed, Tasks(apart), executor="other", wait_s=10)
        waiting(system, 1)
        end_lease(platform, expiring["id"])
        assert [one["id"] for one in claim.result()] == [expiring["id"]]


@case("claims/003", "claimTasks 503", "submitTask 201", "writeFile result", slow="starts a system")
def test_claims_that_wait_hold_nothing(fresh_backend: FreshBackend) -> None:
    """More claims wait than there are connections; a zone has half of the places, beyond it 503; others go on (api)."""
    system: System = fresh_backend(env={"NEXMDM_PLATFORM_CLAIMS_WAITING": "40", "NEXMDM_MAX_IN_FLIGHT": "10"})
    platform = Platform(system)
    zone, other = platform.zone(), platform.zone()
    with platform.apart(zone) as apart, ThreadPoolExecutor(20) as pool:
        claims = []
        for number in range(20):
            claims.append(pool.submit(claimed, Tasks(apart), wait_s=20))
            waiting(system, number + 1)
        with system.metrics.moves({'nexmdm_shed_total{queue="claims"}': 1}):
            refused(Tasks(zone).claim(wait_s=1), 503, "overloaded")
        assert claimed(Tasks(other), wait_s=0.1) == []
        assert claimed(Tasks(zone)) == [], "one that does not wait needs no place"
        zone.write("/a", "text")
        for _ in range(20):
            submitted(Tasks(zone))
        assert [len(one.result()) for one in claims] == [1] * 20
    assert claimed(Tasks(zone), wait_s=0.1) == []


def _revoke(platform: Platform, zone: Zone, key: api_keys.ApiKey) -> None:
    del zone
    api_keys.revoke(platform.system, key.name)


def _unmount(platform: Platform, _zone: Zone, _key: api_keys.ApiKey) -> None:
    accepted(act(platform, "scheduler", "unmount"))


def _delete(platform: Platform, zone: Zone, _key: api_keys.ApiKey) -> None:
    accepted(platform.admin("DELETE", f"{ZONES}/{zone.zone_id}"), 202)


ENDS: dict[str, tuple[Callable[[Platform, Zone, api_keys.ApiKey], None], set[tuple[int, str]]]] = {
    "key": (_revoke, {(401, "token_invalid")}),
    "brick": (_unmount, {(503, "brick_unmounted")}),
    "zone": (_delete, {(409, "zone_terminating"), (401, "token_invalid")}),  # its keys end with it
}


@case("claims/004")
@pytest.mark.parametrize("name", ENDS)
def test_a_waiting_claim_ends(name: str, platform: Platform, system: System) -> None:
    """When its key is revoked, its zone deleted or the scheduler unmounted a waiting claim ends within 2 s (api)."""
    end, told = ENDS[name]
    zone = platform.zone()
    key = platform.named_key("member", zone.zone_id)
    caller = Zone(system.api, key.secret, zone.zone_id)
    try:
        with ThreadPoolExecutor(1) as pool, platform.apart(caller) as apart:
            claim: Future[Answer] = pool.submit(partial(Tasks(apart).claim, wait_s=20))
            waiting(system, 1)
            end(platform, zone, key)
            began = time.monotonic()
            answer: Any = claim.result()
            assert time.monotonic() - began < 3
    finally:
        accepted(act(platform, "scheduler", "mount"))
    assert (answer.status, answer.json()["code"]) in told
    if name == "zone":
        platform.gone(zone.zone_id)


@case("claims/005", slow="stops a backend")
def test_a_stop_answers_what_waits(fresh_backend: FreshBackend) -> None:
    """A service that stops answers its waiting claims at once, with no task (platform.md)."""
    system: System = fresh_backend()
    platform = Platform(system)
    zone = platform.zone()
    with ThreadPoolExecutor(1) as pool, platform.apart(zone) as apart:
        claim = pool.submit(claimed, Tasks(apart), wait_s=20)
        waiting(system, 1)
        began = time.monotonic()
        assert system.running.backend.stop() == 0
        assert claim.result() == []
        assert time.monotonic() - began < 3
