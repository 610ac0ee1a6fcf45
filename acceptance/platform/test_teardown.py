"""The deletion of a zone: complete also while it is written to, resumed by another process, and told by metrics."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from acceptance.platform.zones import MIB, Platform
from acceptance.suite.case import case
from acceptance.system.locks import unfinished
from acceptance.system.match import accepted
from acceptance.system.system import System
from acceptance.system.web_workers import background_process, frozen, race
from harness.http.client import Answer
from harness.platform.zone import ZONES
from harness.waiting import eventually

ZONE_LOCK = "select from zones where zone_id = %s for update"
DELETED = "select count(*) from events where zone_id = 'root' and type = 'zone.deleted' and sequence_number > %s"


@case("teardown/001", "deleteZone 202", "getZone 404")
@pytest.mark.parametrize("size", [4, MIB], ids=["in the row", "in the store"])
def test_a_racing_write_does_not_survive(size: int, two_workers: System, platform_of_two: Platform) -> None:
    """Writes that race with the deletion are before it or refused; of none is anything left, however late (004)."""
    platform = platform_of_two
    zone = platform.zone()
    zone.write("/before", "text")
    folder = platform.folder(zone.zone_id)
    delete = partial(platform.admin, "DELETE", f"{ZONES}/{zone.zone_id}")
    calls = [partial(zone.call, "write", path=f"/{n}", content="x" * size) for n in range(7)]
    calls.insert(4, delete)
    with ThreadPoolExecutor(1) as pool:
        with unfinished(two_workers, ZONE_LOCK, zone.zone_id) as wait_for:
            racing = pool.submit(race, two_workers, calls)
            wait_for(8)  # as many changes of a zone as two workers have connections for
        answers = racing.result()
    accepted(answers.pop(4), 202)
    assert {what_became(answer) for answer in answers} <= {"result", "zone_terminating", "token_invalid"}
    platform.gone(zone.zone_id)
    assert platform.rows(zone.zone_id) == {}
    assert not folder.exists()


def what_became(answer: Answer) -> str:
    body = answer.json()
    if answer.status != 200:
        return str(body["code"])
    return "result" if "result" in body else str(body["error"]["data"]["code"])


@case("teardown/002", "deleteZone 202")
def test_a_deletion_is_told(system: System, platform: Platform) -> None:
    """The end of a zone has its lines, and one event in root; then no metric says that a zone ends (platform.md)."""
    zone = platform.zone()
    for number in range(3):
        zone.write(f"/{number}", "text")
    last = system.db.value("select event_seq from zones where zone_id = 'root'")
    accepted(platform.admin("DELETE", f"{ZONES}/{zone.zone_id}"), 202)
    system.logs.wait("platform.zone.terminating", zone_id=zone.zone_id)
    line = system.logs.wait("platform.zone.deleted", zone_id=zone.zone_id)
    assert line["level"] == "INFO"
    platform.gone(zone.zone_id)
    assert system.db.value(DELETED, last) == 1
    eventually(lambda: system.metrics.total("nexmdm_platform_zones_terminating") == 0, within_s=3.0)


@case("teardown/003", "getZone 200", "deleteZone 202")
def test_two_zones_end_beside_each_other(system: System, platform: Platform) -> None:
    """Zones that end at the same time are all ended: no loop works in one zone alone (platform.md: isolation)."""
    zones = [platform.zone() for _ in range(3)]
    for zone in zones:
        zone.write("/a", "text")
        zone.write("/b", "x" * 70_000)
    folders = [platform.folder(zone.zone_id) for zone in zones]
    with frozen(background_process(system)):
        for zone in zones:
            accepted(platform.admin("DELETE", f"{ZONES}/{zone.zone_id}"), 202)
            assert platform.rows(zone.zone_id)["files"] == 2
    for zone in zones:
        platform.gone(zone.zone_id)
        assert platform.rows(zone.zone_id) == {}
    assert not any(folder.exists() for folder in folders)


@case("teardown/004", "deleteZone 202")
def test_a_pinned_object_is_waited_for(platform: Platform) -> None:
    """While an object is pinned somebody may still put it: the end of its zone waits for the pin (platform.md)."""
    zone = platform.zone()
    platform.write(
        "insert into objects (zone_id, object_id, size, sha256, pinned_until) values (%(zone)s, gen_random_uuid(), 1,"
        " repeat('a', 64), now() + interval '1 hour')",
        zone=zone.zone_id,
    )
    folder = platform.folder(zone.zone_id)
    accepted(platform.admin("DELETE", f"{ZONES}/{zone.zone_id}"), 202)

    def waits() -> bool:
        shown = accepted(platform.admin("GET", f"{ZONES}/{zone.zone_id}"))["finalizers"]
        return [one["done"] for one in shown] == [*[True] * 10, False, False]

    eventually(waits, within_s=5.0)
    metrics = platform.system.metrics
    eventually(lambda: metrics.total("nexmdm_platform_zones_terminating") == 1, within_s=3.0)
    assert metrics.total("nexmdm_platform_oldest_terminating_seconds") > 0
    folder.add("late")
    platform.write("update objects set pinned_until = now() where zone_id = %(zone)s", zone=zone.zone_id)
    platform.gone(zone.zone_id)
    assert platform.rows(zone.zone_id) == {}
    assert not folder.exists()
