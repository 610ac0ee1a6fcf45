"""The pages of the event log: cursors that live, cursors that expire, and parameters that are none."""

from itertools import pairwise

import pytest

from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.match import accepted, pointers, refused
from harness.platform.zone import EVENTS, Zone

AGE = """
    update events set occurred_at = occurred_at - interval '31 days'
    where zone_id = %(zone)s and sequence_number <= %(last)s
"""


@pytest.fixture
def written(zone: Zone) -> Zone:
    """A zone with ten events: its own and nine writes."""
    for number in range(2, 11):
        zone.write(f"/{number}", "text")
    return zone


@case("events/001", "listEvents 200", "replayEvents 200")
def test_a_log_is_paged(written: Zone) -> None:
    """Pages join without a gap in both directions, and the last cursor of a replay finds what comes later (api)."""
    numbers: list[int] = []
    more: dict[str, str] = {}
    while True:
        page = accepted(written.events(limit=3, **more))
        numbers += [event["sequence_number"] for event in page["events"]]
        if not page["has_more"]:
            break
        more = {"cursor": page["next_cursor"]}
    assert numbers == list(range(10, 0, -1))
    tail = accepted(written.replay(limit=10))
    assert ([event["sequence_number"] for event in tail["events"]], tail["has_more"]) == (list(range(1, 11)), False)
    for number in (11, 12):
        still = accepted(written.replay(cursor=tail["next_cursor"]))
        assert (still["events"], still["has_more"]) == ([], False)
        written.write(f"/{number}", "text")
        tail = accepted(written.replay(cursor=still["next_cursor"]))
        assert [event["sequence_number"] for event in tail["events"]] == [number]
    moments = [event["timestamp"] for event in written.log()]
    assert all(one <= other for one, other in pairwise(moments))


@case("events/002", "listEvents 422", "replayEvents 422")
def test_wrong_parameters_of_a_log(written: Zone, platform: Platform) -> None:
    """A parameter that is none is a 422 that points to it (api)."""
    wrong = {
        "limit": ["0", "1001", "x", "-1"],
        "cursor": ["", "x", "A" * 3000, "\0", "é"],
        "operation_type": ["", "creates", "WRITE", "write,delete"],
        "since": ["yesterday", "2026-13-01T00:00:00Z", "2026-01-01"],
        "until": ["now", ""],
        "agent_id": ["", "a b", "a" * 129],
        "path_prefix": [""],
    }
    with platform.unchanged():
        for name, values in wrong.items():
            for value in values:
                for path in (EVENTS, f"{EVENTS}/replay"):
                    problem = refused(written.request("GET", path, params={name: value}), 422, "validation_error")
                    assert pointers(problem) == {f"/query/{name}"}, (name, value)


@case("events/003", "replayEvents 410", "replayEvents 200", "listEvents 200")
def test_events_are_kept_for_thirty_days(written: Zone, platform: Platform) -> None:
    """Events go after 30 days; a cursor from before says what is the first that is left, a new replay begins there."""
    first, newest = accepted(written.replay(limit=2)), accepted(written.events(limit=8))
    other = platform.zone()
    other.write("/a", "text")
    platform.system.has_forgotten("events")
    for zone, last in ((written, 4), (other, 1)):
        platform.write(AGE, zone=zone.zone_id, last=last)
    assert platform.system.forgets()["events"] == 5
    assert [event["sequence_number"] for event in other.log()] == [2]
    assert refused(written.replay(cursor=first["next_cursor"]), 410, "cursor_expired")["first_available"] == 5
    older = accepted(written.events(cursor=newest["next_cursor"]))
    assert (older["events"], older["has_more"]) == ([], False)
    assert [event["sequence_number"] for event in written.log()] == list(range(5, 11))
    written.write("/11", "text")
    assert written.log()[-1]["sequence_number"] == 11


@case("events/004", "replayEvents 200", "replayEvents 422")
def test_a_cursor_is_of_its_zone(written: Zone, platform: Platform) -> None:
    """A cursor of another zone, or of the list in the other order, is refused (004: isolation)."""
    cursor = accepted(written.replay(limit=2))["next_cursor"]
    other = platform.zone()
    with platform.unchanged():
        for page in (other.replay(cursor=cursor), written.events(cursor=cursor)):
            assert pointers(refused(page, 422, "validation_error")) == {"/query/cursor"}
    assert accepted(written.replay(cursor=cursor, limit=1))["events"][0]["sequence_number"] == 3


@case("events/005", "replayEvents 422")
def test_a_cursor_behind_the_last_event(written: Zone, platform: Platform) -> None:
    """A cursor of what a restored database no longer has is refused: it would skip what comes (004: in order)."""
    cursor = accepted(written.replay(limit=10))["next_cursor"]
    platform.write(
        "with lost as (delete from events where zone_id = %(zone)s and sequence_number > 5)"
        " update zones set event_seq = 5 where zone_id = %(zone)s",
        zone=written.zone_id,
    )
    with platform.unchanged():
        assert pointers(refused(written.replay(cursor=cursor), 422, "validation_error")) == {"/query/cursor"}
