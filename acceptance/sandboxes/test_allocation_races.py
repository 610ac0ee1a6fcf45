"""Races for sandboxes through two workers: each is given once, and a track has one, whatever the worker."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
import pytest

from acceptance.sandboxes.pool import Pool, Student
from acceptance.suite.case import case
from acceptance.system import api_keys
from acceptance.system.locks import BLOCKED, unfinished
from acceptance.system.match import accepted, refused
from acceptance.system.roles import as_owner
from acceptance.system.system import System
from acceptance.system.web_workers import both, race
from harness.http.client import Answer
from harness.waiting import eventually

HOUR = 3_600
LEDGER_LOCK = "lock table allocations in share mode"  # who allocates has picked a sandbox, and waits
POOL_LOCK = "lock table sandboxes in share mode"  # who allocates is about to pick one
TRACK_LOCK = "select pg_advisory_xact_lock(1396855378, hashtext(%s))"
ROW_LOCK = "select from allocations where sandbox_id = %s for update"
EXTENDED = "update allocations set grace_until = now() + interval '1 hour' where sandbox_id = %s"
RELEASED = "update allocations set ended_at = now(), end_reason = 'released' where sandbox_id = %s"
LIVE = "select count(*) from allocations where track_id = %s and ended_at is null"
CALLED = """
    select max(query_start) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
        and query like '%%nexmdm_allocate_sandbox%%' and query_start > %s
"""
CALLING = CALLED.replace("max(query_start)", "count(*)")


@pytest.fixture
def pool(pool_of_two: Pool) -> Pool:
    return pool_of_two


def statuses(answers: list[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


@case("allocation-races/001", "allocateSandbox 201", "allocateSandbox 200")
@pytest.mark.parametrize("free", [1, 60])
def test_fifty_duplicates_are_one_allocation(free: int, two_workers: System, pool: Pool) -> None:
    """Of 50 requests of one track at once one is 201 and 49 are 200, also for the last one (003: double allocation)."""
    pool.seed(free)
    student = pool.student()
    with ThreadPoolExecutor(1) as threads:
        with unfinished(two_workers, LEDGER_LOCK) as wait_for:
            racing = threads.submit(race, two_workers, [student.allocate] * 50)
            wait_for(2)  # one of each worker, one of which holds a sandbox
        answers = racing.result()
    assert statuses(answers) == {201: 1, 200: 49}
    assert len({answer.body for answer in answers}) == 1
    assert sum(answer.headers.get("idempotent-replay") == "true" for answer in answers) == 49
    assert two_workers.db.value("select count(*) from allocations where track_id = %s", student.track_id) == 1
    left = "select count(*) from sandboxes where status = 'available'"
    assert two_workers.db.value(left) == free - 1


@case("allocation-races/011", "allocateSandbox 201", "allocateSandbox 200", "allocateSandbox 503")
def test_duplicates_that_one_call_answers(two_workers: System, pool: Pool) -> None:
    """Of duplicates that waited in a process together, one is told that its allocation is new (003: idempotency)."""
    pool.seed()
    student = pool.student()
    with both(two_workers), ThreadPoolExecutor(20) as threads, as_owner(two_workers) as owner:
        with unfinished(two_workers, TRACK_LOCK, student.track_id) as wait_for:
            first = [threads.submit(student.allocate) for _ in range(2)]
            wait_for(2)
            begun = two_workers.db.value("select clock_timestamp()")
            others = [threads.submit(student.allocate) for _ in range(18)]
            # The first call of each worker runs into its time-out: the next one is for all the others.
            eventually(lambda: owner.execute(CALLING, [begun]).fetchall() == [(2,)], within_s=4.0)
        assert statuses([asked.result() for asked in first]) == {503: 2}
        assert statuses([asked.result() for asked in others]) == {201: 1, 200: 17}


@case("allocation-races/002", "allocateSandbox 201")
def test_a_hundred_tracks_on_a_hundred_sandboxes(two_workers: System, pool: Pool) -> None:
    """100 tracks at once on 100 sandboxes get one each: 100 times 201, no 409, no 503 (003: stress test)."""
    ids = pool.seed(100)
    answers = race(two_workers, [student.allocate for student in pool.students(100)])
    assert statuses(answers) == {201: 100}
    assert sorted(answer.json()["sandbox_id"] for answer in answers) == sorted(ids)


@case("allocation-races/003", "allocateSandbox 201", "allocateSandbox 409")
def test_two_tracks_and_the_last_sandbox(two_workers: System, pool: Pool) -> None:
    """Of two tracks that reach for the last sandbox at once one gets it, and the other hears 409 (003: conflict)."""
    for _ in range(10):  # in one of five both are served one after the other all the same
        [last] = pool.seed()
        students = pool.students(2)
        with ThreadPoolExecutor(1) as threads:
            with unfinished(two_workers, POOL_LOCK) as wait_for:
                racing = threads.submit(race, two_workers, [student.allocate for student in students])
                wait_for(2)
            answers = sorted(racing.result(), key=lambda answer: answer.status)
        assert accepted(answers[0], 201)["sandbox_id"] == last
        refused(answers[1], 409, "no_sandboxes_available")
        assert pool.status(last) == "allocated"


@case("allocation-races/004", "allocateSandbox 201")
def test_contention_that_ends_in_time_is_waited_for(two_workers: System, pool: Pool) -> None:
    """A track gets the last sandbox when its holder lets go within a moment (003: retry on conflict)."""
    [last] = pool.seed()
    begun = {two_workers.db.value("select clock_timestamp()")}
    with ThreadPoolExecutor(1) as threads, as_owner(two_workers) as owner:  # who sees what others ask

        def again() -> bool:
            """Whether a call has followed the first one, which counts twice where it was prepared, too."""
            [at] = owner.execute(CALLED, [max(begun)]).fetchone() or [None]
            begun.update({at} - {None})
            return len(begun) > 3

        with unfinished(two_workers, "select from sandboxes where sandbox_id = %s for update", last):
            asked = threads.submit(pool.student().allocate)
            eventually(again, within_s=4.0, what="a second try")
        assert accepted(asked.result(), 201)["sandbox_id"] == last


@case("allocation-races/005", "allocateSandbox 201", "allocateSandbox 200")
def test_duplicates_hold_one_connection_of_each_worker(two_workers: System, pool: Pool) -> None:
    """While 50 duplicates of one track wait, other tracks are served: a crowd holds one connection of each worker."""
    pool.seed(9)
    crowd = pool.student()
    with ThreadPoolExecutor(50) as threads, both(two_workers):
        with unfinished(two_workers, TRACK_LOCK, crowd.track_id) as wait_for:
            waiting = [threads.submit(crowd.allocate) for _ in range(30)]
            wait_for(2)
            others = [student.allocate() for student in pool.students(8)]
        answers = [one.result() for one in waiting]
    assert statuses(others) == {201: 8}
    assert statuses(answers) == {201: 1, 200: 29}


@case("allocation-races/006", "allocateSandbox 200", "allocateSandbox 201")
@pytest.mark.parametrize("change", [EXTENDED, RELEASED], ids=["extended", "released"])
def test_an_expiry_looks_again(change: str, two_workers: System, pool: Pool) -> None:
    """What was extended or given back while its expiry waits is not ended by it (003: expiry)."""
    pool.seed(2)
    student = pool.student()
    given = student.has()["sandbox_id"]
    pool.age(given, 5 * HOUR)
    with ThreadPoolExecutor(1) as threads, psycopg.connect(two_workers.target.database_url or "") as other:
        other.execute(change.encode(), [given])
        asked = threads.submit(student.allocate)
        eventually(lambda: two_workers.db.value(BLOCKED) == 1, within_s=4.0)
        other.commit()
        answer = asked.result()
    row = pool.ledger(given)
    if change == EXTENDED:
        assert accepted(answer)["sandbox_id"] == given
        assert (row["ended_at"], pool.status(given)) == (None, "allocated")
    else:
        assert accepted(answer, 201)["sandbox_id"] != given
        assert (row["end_reason"], two_workers.db.value(LIVE, student.track_id)) == ("released", 1)


@case("allocation-races/007", "extendSandbox 200", "releaseSandbox 200", "extendSandbox 403")
@pytest.mark.parametrize("first", ["release", "extend"])
def test_an_extension_and_a_release_race(first: str, two_workers: System, pool: Pool) -> None:
    """Of an extension and a release that race both are decided by one row: what was given back stays so (api)."""
    student, given = pool.holder()
    pool.age(given, HOUR)
    calls: dict[str, Callable[[], Answer]] = {
        "release": partial(student.release, given),
        "extend": partial(student.extend, given),
    }
    answers = {}
    with ThreadPoolExecutor(2) as threads:
        with unfinished(two_workers, ROW_LOCK, given) as wait_for:
            for number, name in enumerate(sorted(calls, key=lambda name: name != first), 1):
                answers[name] = threads.submit(calls[name])
                wait_for(number)
        released, extended = answers["release"].result(), answers["extend"].result()
    accepted(released)
    if first == "release":
        refused(extended, 403, "allocation_expired")
    else:
        accepted(extended)
    row = pool.ledger(given)
    assert (row["end_reason"], pool.status(given)) == ("released", "pending_deletion")
    refused(student.extend(given), 403, "allocation_expired")


@case("allocation-races/008", "releaseSandbox 200")
def test_twenty_releases_are_one(two_workers: System, pool: Pool) -> None:
    """20 releases at once end one allocation once, and all are told the same moment (003: mark for deletion)."""
    student, given = pool.holder()
    moved = {f'nexmdm_sandboxes_releases_total{{outcome="{o}"}}': n for o, n in (("released", 1), ("replay", 19))}
    with two_workers.metrics.moves(moved), ThreadPoolExecutor(1) as threads:
        with unfinished(two_workers, ROW_LOCK, given) as wait_for:
            racing = threads.submit(race, two_workers, [partial(student.release, given)] * 20)
            wait_for(20)
        answers = racing.result()
    assert statuses(answers) == {200: 20}
    assert len({answer.body for answer in answers}) == 1
    lines = [line for answer in answers for line in two_workers.logs.of(answer, "sandboxes.released")]
    assert len(lines) == 1


@case("allocation-races/009", "allocateSandbox 200", "allocateSandbox 201", "releaseSandbox 200")
def test_a_release_and_an_allocation_of_one_track_race(two_workers: System, pool: Pool) -> None:
    """A track that gives back and asks at once has its old sandbox or a new one, never both (003: idempotency)."""
    pool.seed(21)
    student = pool.student()
    given = student.has()["sandbox_id"]
    with both(two_workers), ThreadPoolExecutor(2) as threads:
        for _ in range(10):
            asked, released = threads.submit(student.allocate), threads.submit(student.release, given)
            accepted(released.result())
            answer = asked.result()
            assert answer.status in (200, 201), answer.body
            assert (answer.json()["sandbox_id"] == given) == (answer.status == 200)
            assert two_workers.db.value(LIVE, student.track_id) == (answer.status == 201)
            given = accepted(student.allocate(), 201 if answer.status == 200 else 200)["sandbox_id"]
    assert two_workers.db.value(LIVE, student.track_id) == 1
    assert pool.status(given) == "allocated"


@case(
    "allocation-races/010", "allocateSandbox 409", "allocateSandbox 200", "allocateSandbox 410", "allocateSandbox 401"
)
def test_a_crowd_before_an_empty_pool(two_workers: System, pool: Pool) -> None:
    """In a crowd before an empty pool each hears its own answer, and what becomes free is given at once (003: 409)."""
    pool.seed(20)
    holders, over = pool.students(10), pool.students(10)
    held = {holder.track_id: holder.has() for holder in holders}
    for student in over:
        accepted(student.release(student.has(key="once")["sandbox_id"]))
    wrong = Student(two_workers, "nxk_" + "A" * 43, holders[0].track_id)
    admin = Student(two_workers, api_keys.create(two_workers).secret, holders[0].track_id)
    for _ in range(3):  # the first finds the pool empty
        new = pool.students(60)
        crowd: list[tuple[int, Callable[[], Answer]]] = [
            *((409, student.allocate) for student in new),
            *((200, holder.allocate) for holder in holders),
            *((410, partial(student.allocate, key="once")) for student in over),
            *((409, student.allocate) for student in over),
            (401, wrong.allocate),
            (403, admin.allocate),
        ]
        answers = race(two_workers, [call for _, call in crowd])
        assert [answer.status for answer in answers] == [status for status, _ in crowd]
        for answer in answers:
            if answer.status == 200:
                assert answer.json() in held.values()
    waiting = pool.students(40)
    [free] = pool.seed()
    answers = race(two_workers, [student.allocate for student in waiting])
    assert statuses(answers) == {201: 1, 409: 39}
    assert [answer.json()["sandbox_id"] for answer in answers if answer.status == 201] == [free]
    assert pool.student().allocate().status == 409
