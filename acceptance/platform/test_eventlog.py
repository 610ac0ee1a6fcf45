"""The rows `eventlog` of seed 004: each committed change has one event, filters find it, a replay is in order."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, takewhile
from typing import Any

import pytest

from acceptance.platform.zones import Platform, denied
from acceptance.suite.case import case
from acceptance.system.match import accepted, refused
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import both
from harness.http.client import TransportError
from harness.platform.zone import Zone
from harness.waiting import eventually

pytestmark = [pytest.mark.auto, pytest.mark.eventlog]

Event = dict[str, Any]
WRITERS = 8
LAST = "select event_seq from zones where zone_id = %s"


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


class Tail:
    """Reads the log of a zone while it grows, as a consumer that keeps its cursor."""

    def __init__(self, zone: Zone) -> None:
        self._zone, self._cursor = zone, {"limit": 7}
        self.events: list[Event] = []
        self._ended = threading.Event()

    def follow(self) -> None:
        """Until `end`, and then to the end of the log."""
        while not self._ended.wait(0.01):
            self._page()
        while self._page():
            pass

    def end(self) -> None:
        self._ended.set()

    def _page(self) -> bool:
        """Whether there is more. While others write the service may be away."""
        try:
            answer = self._zone.replay(**self._cursor)
        except TransportError:
            if self._ended.is_set():
                raise
            return False
        if answer.status == 503 and not self._ended.is_set():
            return False
        page = accepted(answer)
        self.events += page["events"]
        self._cursor |= {"cursor": page["next_cursor"]}
        return bool(page["has_more"])


def write_each(zone: Zone, writer: int, numbers: Iterable[int], acknowledged: list[str]) -> int:
    """Writes a file after the other; how many the service was away for."""
    unanswered = 0
    for number in numbers:
        path = f"/{writer}/{number}"
        try:
            answer = zone.call("write", path=path, content="text")
        except TransportError:
            unanswered += 1
            continue
        if answer.status == 200 and "result" in answer.json():
            acknowledged.append(path)
    return unanswered


def replayed(
    zone: Zone, numbers: Callable[[], Iterable[int]], beside: Callable[[], None] = lambda: None
) -> tuple[list[Event], list[str], int]:
    """What a tail saw of the writes of all writers, which were acknowledged, and how many got no answer."""
    tail, acknowledged = Tail(zone), list[str]()
    with ThreadPoolExecutor(WRITERS + 1) as threads:
        reading = threads.submit(tail.follow)
        try:
            writing = [threads.submit(write_each, zone, one, numbers(), acknowledged) for one in range(WRITERS)]
            beside()
            unanswered = sum(one.result() for one in writing)
        finally:
            tail.end()
        reading.result()
    return tail.events, acknowledged, unanswered


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


def has_events(system: System, zone: Zone, count: int) -> bool:
    return bool(system.db.value(LAST, zone.zone_id) > count)


@case("eventlog/004", "replayEvents 200", slow="kills its backend")
@pytest.mark.parametrize("end", ["kill", "restart"])
def test_events_and_writes_agree_over_the_end_of_the_service(end: str, fresh_backend: FreshBackend) -> None:
    """Over a kill -9 and a restart each acknowledged write has its event, once, in order, without a gap (004)."""
    system: System = fresh_backend(workers=2)
    platform, over = Platform(system), threading.Event()
    mine, backend = platform.zone(), system.running.backend

    def until_it_is_over() -> Iterator[int]:
        return takewhile(lambda _: not over.wait(0.005), count())

    def end_it() -> None:
        try:
            for _ in range(2):
                eventually(partial(has_events, system, mine, system.db.value(LAST, mine.zone_id) + 40), within_s=30.0)
                if end == "kill":
                    backend.kill(group=True)
                backend.restart()
            eventually(partial(has_events, system, mine, system.db.value(LAST, mine.zone_id) + 40), within_s=30.0)
        finally:
            over.set()

    with platform.apart(mine) as zone:
        seen, acknowledged, unanswered = replayed(zone, until_it_is_over, end_it)
        stored = zone.paths()
    assert unanswered, "no write met the end"
    assert [event["sequence_number"] for event in seen] == list(range(1, len(seen) + 1))
    written = [event["path"] for event in seen if event["type"] == "write"]
    assert len(written) == len(set(written))
    assert set(acknowledged) <= set(written)
    assert sorted(stored) == sorted(written)
