"""Writers of files and one who tails the log of their zone, beside whatever becomes of the service."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, takewhile
from typing import Any

from acceptance.platform.zones import Platform
from acceptance.system.match import accepted
from acceptance.system.system import System
from harness.http.client import TransportError
from harness.platform.zone import Zone
from harness.waiting import eventually

Event = dict[str, Any]
WRITERS = 8
LAST = "select event_seq from zones where zone_id = %s"


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
    """Writes a file after the other; how many were not acknowledged."""
    missed = 0
    for number in numbers:
        path = f"/{writer}/{number}"
        try:
            answer = zone.call("write", path=path, content="text")
        except TransportError:
            missed += 1
            continue
        if answer.status == 200 and "result" in answer.json():
            acknowledged.append(path)
        else:
            missed += 1
    return missed


def replayed(
    zone: Zone, numbers: Callable[[], Iterable[int]], beside: Callable[[], None] = lambda: None
) -> tuple[list[Event], list[str], int]:
    """What a tail saw of the writes of all writers, which were acknowledged, and how many were not."""
    tail, acknowledged = Tail(zone), list[str]()
    with ThreadPoolExecutor(WRITERS + 1) as threads:
        reading = threads.submit(tail.follow)
        try:
            writing = [threads.submit(write_each, zone, one, numbers(), acknowledged) for one in range(WRITERS)]
            beside()
            missed = sum(one.result() for one in writing)
        finally:
            tail.end()
        reading.result()
    return tail.events, acknowledged, missed


def killed(system: System) -> None:
    """kill -9 of all its processes, and a start."""
    system.running.backend.kill(group=True)
    restarted(system)


def restarted(system: System) -> None:
    """An end in order, and a start."""
    system.running.backend.restart()


def database_killed(system: System) -> None:
    """kill -9 of all processes of its PostgreSQL, and a start on the same data."""
    system.db.close()
    system.running.postgres.kill()
    system.running.postgres.restart()


def ended_while_it_writes(system: System, end: Callable[[System], None], *, times: int) -> None:
    """End something so often while files are written; then files, events and what was acknowledged agree."""
    platform, over = Platform(system), threading.Event()
    mine = platform.zone()

    def until_it_is_over() -> Iterator[int]:
        return takewhile(lambda _: not over.wait(0.005), count())

    def goes_on() -> None:
        more = system.db.value(LAST, mine.zone_id) + 40
        eventually(lambda: system.db.value(LAST, mine.zone_id) > more, within_s=30.0, what="more events")

    def end_it() -> None:
        try:
            for _ in range(times):
                goes_on()
                end(system)
            goes_on()
        finally:
            over.set()

    with platform.apart(mine) as zone:
        seen, acknowledged, missed = replayed(zone, until_it_is_over, end_it)
        stored = zone.paths()
    assert missed, "no write met the end"
    assert [event["sequence_number"] for event in seen] == list(range(1, len(seen) + 1))
    written = [event["path"] for event in seen if event["type"] == "write"]
    assert len(written) == len(set(written))
    assert set(acknowledged) <= set(written)
    assert sorted(stored) == sorted(written)
    platform.adds_up(mine.zone_id)
