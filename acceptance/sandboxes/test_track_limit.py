"""The rate limit of a track, over all workers: 200 at once, 50 a second; a wrong key uses none of it."""

import math
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from acceptance.sandboxes.pool import Pool, Student
from acceptance.suite.case import case
from acceptance.system.concurrency import at_once
from acceptance.system.match import accepted, refused
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import race
from harness.http.client import Answer
from harness.http.raw_http import Sockets, request
from harness.waiting import eventually

ALONE = 10  # hits of a track that a process counts for itself in each second
LIMITED = 'nexmdm_rate_limited_total{rule="track"}'
COUNTED = "select coalesce(sum(hits), 0) from rate_limits where rule = 'track' and subject = %s"
FRESH = "select extract(epoch from now()) % 20 < 8"  # a crowd takes seconds, and has to end before its window does


@case("track-limit/001", "getCurrentAllocation 429", slow="a system of its own, whose limit is the product's")
def test_four_hundred_at_once_through_two_workers(fresh_backend: FreshBackend) -> None:
    """Of 400 requests of a track at once through two workers 200 to 220 pass, and others do not notice (003)."""
    system: System = fresh_backend(workers=2, env={"NEXMDM_LIMIT_TRACK": "200/20"})
    student, other = Pool(system).students(2)
    eventually(lambda: system.db.value(FRESH), within_s=20.0)
    asked = request("GET /v1/allocations/current", student.authorization, ("X-Track-ID", student.track_id))
    sockets = Sockets(system.target.base_url)
    began = time.time()
    # As bytes: where a client's library takes 10 s for 400 requests, the processes let all of them by.
    crowd = at_once([partial(sockets.exchange, asked * 10, half_close=True)] * 40)
    took_s = time.time() - began
    count = Counter(answer.status for answers in crowd for answer in answers)
    assert count.keys() == {404, 429}
    assert count.total() == 400
    # Each process has ten of its own in each second.
    assert 200 <= count[404] <= 200 + 2 * ALONE * (math.floor(took_s) + 2), (count, took_s)
    assert system.db.value(COUNTED, student.track_id) <= 200
    refusals = [answer for answer in race(system, [student.current] * 80) if answer.status == 429]
    for answer in refusals:
        refused(answer, 429, "rate_limited")
        assert answer.headers["retry-after"] == "10"
        assert answer.headers["x-ratelimit-limit"] == "200"
        assert 0 <= int(answer.headers["x-ratelimit-remaining"]) < 200
    system.logs.expect(refusals[0], "sec.token.ratelimit", rule="track", level="WARNING")
    refused(other.current(), 404, "no_allocation")


@case(
    "track-limit/002",
    "allocateSandbox 429",
    "getCurrentAllocation 429",
    "getSandbox 429",
    "extendSandbox 429",
    "releaseSandbox 429",
)
def test_every_operation_of_a_track_is_limited(fresh_backend: FreshBackend) -> None:
    """Beyond its limit each request of a track is 429 and changes nothing, whatever it asks for (003: rate limit)."""
    system: System = fresh_backend(env={"NEXMDM_LIMIT_TRACK": "3/3600"})
    pool = Pool(system)
    pool.seed(2)
    student, other = pool.students(2)
    allocated = student.allocate()
    given = accepted(allocated, 201)["sandbox_id"]
    assert (allocated.headers["x-ratelimit-limit"], allocated.headers["x-ratelimit-remaining"]) == ("3", "2")
    assert any(answer.status == 429 for answer in race(system, [student.current] * 80)), "the shared count is used up"
    asked: list[Answer] = []

    def passes() -> bool:
        asked.append(student.current())
        return asked[-1].status == 200

    counted = system.metrics.total(LIMITED)
    with system.unchanged():
        # The first hits of each second cost no statement. One has just begun when such a hit passes.
        eventually(passes, within_s=3.0)
        for _ in range(2):
            accepted(student.current())
        answers = [
            student.allocate(),
            student.current(),
            student.look(given),
            student.extend(given),
            student.release(given),
        ]
    refusals = [*answers, *(answer for answer in asked if answer.status == 429)]
    eventually(lambda: system.metrics.total(LIMITED) == counted + len(refusals), within_s=3.0)
    for answer in answers:
        refused(answer, 429, "rate_limited")
        system.logs.expect(answer, "sec.token.ratelimit", rule="track")
    accepted(other.allocate(), 201)


@case("track-limit/003", "allocateSandbox 401")
@pytest.mark.parametrize("ask", [Student.allocate, Student.current], ids=["allocate", "current"])
def test_who_is_not_let_in_uses_nothing_up(ask: Callable[[Student], Answer], system: System, pool: Pool) -> None:
    """A wrong key uses nothing up of the limit of the track that it names (003: authentication first)."""
    pool.seed()
    student = pool.student()
    stranger = Student(system, "nxk_" + "A" * 43, student.track_id)
    for _ in range(30):
        answer = ask(stranger)
        refused(answer, 401, "token_invalid")
        assert "x-ratelimit-limit" not in answer.headers
    answer = ask(student)
    assert answer.status in (201, 404)
    assert int(answer.headers["x-ratelimit-remaining"]) == int(answer.headers["x-ratelimit-limit"]) - 1
    assert system.db.value(COUNTED, student.track_id) == 0
