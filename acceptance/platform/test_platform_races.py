"""Long races: quotas over a hundred rounds, a large zone that is deleted under load, deletions that are killed."""

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from acceptance.platform.test_quota import outcomes
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.match import accepted
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import background_process, both, kill
from harness.http.client import Answer
from harness.platform.zone import ZONES, Zone
from harness.waiting import eventually

ROUNDS, CONNECTIONS = 100, 50
SIZES = (7, 1_009, 4_099, 65_521, 70_001)  # none divides the limit, nor another
LIMIT = 1_000_003
FILES = 100_000
MANY = """
    insert into files (zone_id, path, kind, size, etag, content)
    select %(zone)s, '/' || n %% 100 || '/' || n, 'file', 4, %(etag)s, 'text' from generate_series(1, %(count)s) n
"""
MANY_EVENTS = """
    insert into events (zone_id, sequence_number, type, path, occurred_at)
    select %(zone)s, n + 1, 'write', '/' || n %% 100 || '/' || n, now() from generate_series(1, %(count)s) n
"""
USED = (
    "update zones set files = %(count)s, used_bytes = 4 * %(count)s, event_seq = 1 + %(count)s where zone_id = %(zone)s"
)
REMOVED = "select coalesce(sum(removed), 0)::bigint from zone_finalizers where zone_id = %s"


@case("quota/005", slow="5,000 requests")
def test_a_quota_holds_over_a_hundred_rounds(two_workers: System, platform_of_two: Platform) -> None:
    """50 connections write, overwrite and delete at the limit, 100 rounds: sum = usage <= limit after each (004)."""
    platform = platform_of_two
    mine, chance, seen = platform.zone(limits={"max_storage_bytes": LIMIT}), random.Random(16), Counter[str]()

    def change(zone: Zone, draw: float, path: str, size: int) -> Answer:
        if draw < 0.25:
            return zone.call("delete", path=path)
        return zone.call("write", path=path, content="x" * size)

    with platform.apart(mine) as zone, both(two_workers), ThreadPoolExecutor(CONNECTIONS) as pool:
        for number in range(ROUNDS):
            drawn = [(chance.random(), f"/{chance.randrange(40)}", chance.choice(SIZES)) for _ in range(CONNECTIONS)]
            seen += outcomes([one.result() for one in [pool.submit(change, zone, *each) for each in drawn]])
            used = platform.system.db.value("select used_bytes from zones where zone_id = %s", mine.zone_id)
            counted = platform.counted(mine.zone_id)
            assert used == counted["bytes"] <= LIMIT, number
        assert seen.keys() == {"result", "quota_exceeded", "not_found"}
        assert min(seen.values()) > ROUNDS, seen
    platform.adds_up(mine.zone_id)
    platform.loses_nothing(mine.zone_id)


def large_zone(platform: Platform) -> Zone:
    """A zone of 100,000 files and as many events."""
    zone = platform.zone()
    etag = zone.write("/first", "text")["etag"]
    zone.write("/stored", "x" * 1_000_000)
    platform.write(MANY, zone=zone.zone_id, etag=etag, count=FILES)
    platform.write("delete from events where zone_id = %(zone)s and sequence_number > 1", zone=zone.zone_id)
    platform.write(MANY_EVENTS, zone=zone.zone_id, count=FILES)
    platform.write(USED, zone=zone.zone_id, count=FILES)
    return zone


@case("teardown/005", slow="100,000 files")
def test_a_large_zone_is_deleted_under_load(fresh_backend: FreshBackend) -> None:
    """A zone of 100,000 files is deleted under load: nothing of it is left, and another zone goes on (004)."""
    system: System = fresh_backend(workers=2)
    platform = Platform(system)
    large, other = large_zone(platform), platform.zone()
    folder, ended = platform.folder(large.zone_id), threading.Event()

    def write(zone: Zone, label: int) -> Counter[str]:
        became: Counter[str] = Counter()
        while not ended.is_set():
            answer = zone.call("write", path=f"/late/{label}/{became.total()}", content="text")
            body = answer.json()
            became["result" if "result" in body else body.get("code") or body["error"]["data"]["code"]] += 1
        return became

    with platform.apart(large) as one, platform.apart(other) as beside, ThreadPoolExecutor(4) as pool:
        racing = [pool.submit(write, one, 0), pool.submit(write, one, 1), pool.submit(write, beside, 2)]
        try:
            eventually(lambda: len(platform.counted(other.zone_id)) and other.usage()["max_files"] > 20, within_s=10.0)
            accepted(platform.admin("DELETE", f"{ZONES}/{large.zone_id}"), 202)
            platform.gone(large.zone_id, within_s=120.0)
        finally:
            ended.set()
        late = racing[0].result() + racing[1].result()
        assert late.keys() <= {"result", "zone_terminating", "token_invalid"}
        assert racing[2].result().keys() == {"result"}
    assert platform.rows(large.zone_id) == {}
    assert not folder.exists()
    platform.adds_up(other.zone_id)


@case("teardown/006", slow="kills processes")
def test_a_killed_deletion_is_finished_by_another(fresh_backend: FreshBackend) -> None:
    """kill -9 in the middle of a zone's deletion, twice: another process takes it up where it was, to its end (004)."""
    system: System = fresh_backend()
    platform = Platform(system)
    zone = large_zone(platform)
    folder = platform.folder(zone.zone_id)
    accepted(platform.admin("DELETE", f"{ZONES}/{zone.zone_id}"), 202)
    removed = 0
    for _ in range(2):
        more = removed
        eventually(lambda: system.db.value(REMOVED, zone.zone_id) > more, within_s=20.0)  # noqa: B023
        victim = background_process(system)
        kill(system, victim)
        eventually(partial(is_replaced, system, victim), within_s=10.0)
        removed = system.db.value(REMOVED, zone.zone_id)
        assert 0 < removed < 2 * FILES, "the deletion was over before it was killed"
    platform.gone(zone.zone_id, within_s=120.0)
    assert platform.rows(zone.zone_id) == {}
    assert not folder.exists()
    system.logs.wait("platform.zone.deleted", zone_id=zone.zone_id)


def is_replaced(system: System, victim: int) -> bool:
    started = [line for line in system.logs.tap.since(0) if line["event"] == "service.start"]
    return bool([line["pid"] for line in started if line["role"] == "background"][-1] != victim)
