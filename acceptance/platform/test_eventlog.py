"""The rows `eventlog` of seed 004: each committed change has one event, filters find it, a replay is in order."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from acceptance.platform.tailing import LAST, WRITERS, Event, ended_while_it_writes, killed, replayed, restarted
from acceptance.platform.zones import Platform, denied
from acceptance.suite.case import case
from acceptance.system.match import accepted, refused
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import both
from harness.platform.zone import Zone

pytestmark = [pytest.mark.auto, pytest.mark.eventlog]


def facts(event: Event) -> tuple[str, str, str | None]:
    return event["type"], event["path"], event["new_path"]


@case("eventlog/001", "listEvents 200", "writeFile result", "renamePath result", "removeDirectory result")
def test_each_change_has_one_event(zone: Zone, platform: Platform, system: System) -> None:
    """Each change that was acknowledged has its event, in its transaction; a refused one leaves none (004)."""
    agent = platform.agent(zone.zone_id, "worker-7")
    zone.write("/a/b.txt", "1")
    agent.write("/a/b.txt", "22")
    zone.rpc("rename", old_path="/a/b.txt", new_path="/c.txt")
    zone.rpc("mkdir", path="/d/e", parents=True)
    zone.rpc("mkdir", path="/d/e", parents=True)
    zone.rpc("rmdir", path="/d", recursive=True)
    agent.rpc("delete", path="/c.txt")
    with platform.unchanged():
        denied(zone, -32000, "not_found", "delete", path="/c.txt")
        denied(zone, -32006, "etag_mismatch", "write", path="/c.txt", content="3", if_match="0" * 64)
        denied(zone, -32000, "not_found", "rename", old_path="/c.txt", new_path="/x")
        denied(zone, -32000, "not_found", "rmdir", path="/d")
    page = accepted(zone.events())
    listed = page["events"]
    assert [facts(event) for event in reversed(listed)] == [
        ("zone.created", "", None),
        ("write", "/a/b.txt", None),
        ("write", "/a/b.txt", None),
        ("rename", "/a/b.txt", "/c.txt"),
        ("mkdir", "/d/e", None),
        ("rmdir", "/d", None),
        ("delete", "/c.txt", None),
    ]
    assert [event["sequence_number"] for event in listed] == [7, 6, 5, 4, 3, 2, 1]
    assert [event["agent_id"] for event in listed if event["agent_id"] == "worker-7"] == ["worker-7"] * 2
    assert {event["zone_id"] for event in listed} == {zone.zone_id}
    assert len({event["event_id"] for event in listed}) == len(listed)
    assert (page["has_more"], zone.log()) == (False, list(reversed(listed)))
    assert system.db.value(LAST, zone.zone_id) == len(listed)


@case("eventlog/002", "listEvents 200", "replayEvents 200")
def test_filters_find_exactly_what_they_name(zone: Zone, platform: Platform) -> None:
    """Each filter and each combination finds exactly its events, page by page, before any limit (004)."""
    agents = [platform.agent(zone.zone_id, name) for name in ("agent-1", "agent-2")]
    for number, agent in enumerate(agents):
        for path in ("/x/1", "/x/2", "/x%/1", "/x_y/1", "/X/1"):
            agent.write(path, "text")
        agent.rpc("delete", path="/x/1")
        agent.rpc("rename", old_path="/x/2", new_path=f"/y/{number}")
    everything = zone.log()
    middle = everything[len(everything) // 2]["timestamp"]
    conditions: dict[tuple[str, Any], Callable[[Event], bool]] = {
        ("operation_type", "write"): lambda event: event["type"] == "write",
        ("operation_type", "rename"): lambda event: event["type"] == "rename",
        ("operation_type", "mkdir"): lambda event: event["type"] == "mkdir",
        ("path_prefix", "/x"): lambda event: event["path"].startswith("/x"),
        ("path_prefix", "/x%"): lambda event: event["path"].startswith("/x%"),
        ("path_prefix", "/x_"): lambda event: event["path"].startswith("/x_"),
        ("agent_id", "agent-2"): lambda event: event["agent_id"] == "agent-2",
        ("agent_id", "nobody"): lambda _: False,
        ("since", middle): lambda event: event["timestamp"] >= middle,
        ("until", middle): lambda event: event["timestamp"] <= middle,
    }
    pairs = [(one, other) for one in conditions for other in conditions if one[0] < other[0]]
    for named in [*((one,) for one in conditions), *pairs[::3]]:
        wanted = [event for event in everything if all(conditions[one](event) for one in named)]
        assert zone.log(limit=5, **dict(named)) == wanted, named
        newest = accepted(zone.events(limit=3, **dict(named)))
        assert newest["events"] == list(reversed(wanted))[:3], named
        assert newest["has_more"] == (len(wanted) > 3), named
    foreign = platform.zone()
    assert foreign.log(path_prefix="/x") == []
    refused(zone.events(operation_type="creates"), 422, "validation_error")


@case("eventlog/003", "replayEvents 200", "replayEvents 410", "replayEvents 422")
def test_a_replay_is_in_order(two_workers: System, platform_of_two: Platform) -> None:
    """Who tails the log while 8 write through two workers sees every event once, in order, without a gap (004)."""
    platform = platform_of_two
    zone = platform.zone()
    with both(two_workers):
        seen, acknowledged, _ = replayed(zone, partial(range, 5))
        assert len(acknowledged) == WRITERS * 5
        assert [event["sequence_number"] for event in seen] == list(range(1, WRITERS * 5 + 2))
        assert sorted(event["path"] for event in seen[1:]) == sorted(acknowledged)
        assert zone.log(limit=1) == zone.log() == seen
    first = accepted(zone.replay(limit=3))
    platform.write("delete from events where zone_id = %(zone)s and sequence_number <= 5", zone=zone.zone_id)
    expired = refused(zone.replay(cursor=first["next_cursor"]), 410, "cursor_expired")
    assert expired["first_available"] == 6
    assert zone.log() == seen[5:]
    refused(zone.replay(cursor="no cursor"), 422, "validation_error")


@case("eventlog/004", slow="kills its backend")
@pytest.mark.parametrize("end", [killed, restarted])
def test_events_and_writes_agree_over_the_end_of_the_service(
    end: Callable[[System], None], fresh_backend: FreshBackend
) -> None:
    """Over a kill -9 and a restart each acknowledged write has its event, once, in order, without a gap (004)."""
    ended_while_it_writes(fresh_backend(workers=2), end, times=2)
