"""A student waits for a sandbox: in a queue, by rank, without a connection, and what becomes of its place."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest

from acceptance.sandboxes.pool import Pool, Student
from acceptance.sandboxes.queue import Queue, queue
from acceptance.sandboxes.test_allocate import TRACK_LOCK, counted
from acceptance.suite.case import case
from acceptance.system import api_keys
from acceptance.system.locks import unfinished
from acceptance.system.match import accepted, refused
from acceptance.system.roles import Connection, as_owner
from acceptance.system.system import FreshBackend, System, Unchanged
from acceptance.system.web_workers import both, kill, only, web_processes
from harness.http.client import Answer
from harness.http.raw_http import Sockets, request
from harness.waiting import eventually

SESSIONS = "select count(*) from pg_stat_activity where datname = current_database() and query ~ '%s'"
ALLOCATING = SESSIONS % "nexmdm_allocate_sandbox|FROM waiters"  # as the service spells it
LISTENING = SESSIONS % "LISTEN.*nexmdm_sandboxes"
POOL_LOCK = "select pg_advisory_xact_lock(1396855380, 0)"  # as the service spells it, too
PERSISTENCE = "select relpersistence::text from pg_class where oid = 'waiters'::regclass"
UNTIL = "select extract(epoch from parked_until)::float8 from waiters where track_id = %s"
AT_ONCE_MS = 900  # what waits a second has waited for longer
COSTLY = "a" + "; a= " * 25 + "("  # 2 ** 25 ways to say which of two rules takes each space


@pytest.fixture
def line(system: System, pool: Pool) -> Iterator[Queue]:
    """The queue of `system`, where nobody has a rank."""
    pool.write("delete from waiters")
    with queue(system) as waiting:
        yield waiting


def served(answer: Answer, wait_s: int = 20, status: int = 201) -> str:
    """The sandbox that a request was given after it was parked."""
    assert answer.headers["preference-applied"] == f"wait={wait_s}"
    return str(accepted(answer, status)["sandbox_id"])


def in_vain(answer: Answer, position: int, wait_s: int) -> None:
    """The request was parked, and heard where it stood."""
    assert refused(answer, 409, "no_sandboxes_available")["queue_position"] == position
    assert answer.headers["preference-applied"] == f"wait={wait_s}"
    assert answer.headers["retry-after"] == "30"


def asks_again(pool: Pool, line: Queue, *, after_s: int, first: str) -> None:
    """The order of a track that asks again so long after it waited in vain, and one that came in between."""
    students = dict(zip(("early", "late"), pool.students(2), strict=True))
    in_vain(ask(students["early"], "wait=1"), 1, wait_s=1)
    pool.write("update waiters set seen_at = seen_at - %(pause)s * interval '1 s'", pause=after_s)
    begun = dict(zip(("late", "early"), line.park(students["late"], students["early"]), strict=True))
    [second] = begun.keys() - {first}
    [free] = pool.seed()
    assert served(begun[first].result()) == free
    assert line.holds(students[second]) == 1
    pool.seed()
    served(begun[second].result())


def not_parked(answer: Answer) -> None:
    """The request heard at once that nothing is free for it."""
    assert "queue_position" not in refused(answer, 409, "no_sandboxes_available")
    assert "preference-applied" not in answer.headers
    assert answer.elapsed_ms < AT_ONCE_MS


def count(owner: Connection, query: str) -> int:
    """The one number of a query."""
    [(number,)] = owner.execute(f"{query} and pid <> pg_backend_pid()".encode()).fetchall()
    return int(number)


def synced(system: System) -> bool:
    """Whether a sync has ended."""
    return bool(system.db.rows("select 1 from job_runs where job = 'sync' and finished_at is not null"))


def ask(student: Student, prefer: str) -> Answer:
    return student.call("POST", "/v1/allocate", headers=[("Prefer", prefer)])


def asking(student: Student) -> bytes:
    """A request that waits, for a connection that a case closes."""
    named = ("X-Track-ID", student.track_id)
    return request("POST /v1/allocate", student.authorization, named, ("Prefer", "wait=20"))


@case("waiting/001", "allocateSandbox 201")
def test_who_waits_is_served_by_rank(two_workers: System) -> None:
    """Requests parked in two web processes are served in the order in which they were parked (api: waiting)."""
    system, pool = two_workers, Pool(two_workers)
    pool.clear()
    first, second, third, fourth = pool.students(4)
    with both(system), queue(system) as waiting:
        begun = waiting.park(first, second, third, fourth)
        free = {*pool.seed(2)}
        assert {served(one.result()) for one in begun[:2]} == free
        assert waiting.holds(third, fourth) == 2
        [last_but_one] = pool.seed()
        assert served(begun[2].result()) == last_but_one
        [last] = pool.seed()
        assert served(begun[3].result()) == last
    assert system.db.value("select count(*) from waiters") == 0
    assert len(web_processes(system)) == 2


@case("waiting/002", "allocateSandbox 409")
def test_the_end_of_a_wait(system: System, pool: Pool, line: Queue) -> None:
    """A wait that is over is 409 with its place in the queue; its log lines and metrics say so (api: waiting)."""
    first, second = pool.student(lab="waiting-101"), pool.student()
    with system.metrics.moves(counted("exhausted")):
        begun = line.park(first, wait_s=2)
        assert system.metrics.total("nexmdm_sandboxes_waiters") == 1
        answer = begun[0].result()
    in_vain(answer, 1, wait_s=2)
    assert 1_900 < answer.elapsed_ms < 3_000
    named = {"track_id": first.track_id, "track_name": "waiting-101"}
    assert system.logs.expect(answer, "sandboxes.parked", **named, wait_s=2)["level"] == "INFO"
    system.logs.expect(answer, "sandboxes.exhausted", **named, queue_position=1)
    slow = 'nexmdm_sandboxes_allocation_seconds_bucket{outcome="exhausted",le="1.0"}'
    with system.metrics.moves({slow: 1}):
        in_vain(ask(second, "wait=1"), 2, wait_s=1)
    eventually(lambda: system.metrics.total("nexmdm_sandboxes_waiters") == 0, within_s=3.0)
    assert line.holds(first, second) == 0


@case("waiting/003", "allocateSandbox 201")
def test_a_rank_survives_a_retry(pool: Pool, line: Queue) -> None:
    """A track that asks again within 60 s of its last request has its old rank (api: waiting)."""
    asks_again(pool, line, after_s=50, first="early")


@case("waiting/004", "allocateSandbox 201")
def test_a_rank_runs_out(pool: Pool, line: Queue) -> None:
    """A track that asks again more than 60 s after its last request is the last of the queue (api: waiting)."""
    asks_again(pool, line, after_s=61, first="late")


@case("waiting/005", "allocateSandbox 201")
def test_a_rank_is_spent(pool: Pool, line: Queue) -> None:
    """A track that was given a sandbox has no rank: given back, it waits behind those who came since (api: waiting)."""
    early, late = pool.student(), pool.student()
    in_vain(ask(early, "wait=1"), 1, wait_s=1)
    pool.seed()
    accepted(early.release(early.has()["sandbox_id"]))
    begun = line.park(late, early)
    [free] = pool.seed()
    assert served(begun[0].result()) == free
    pool.seed()
    served(begun[1].result())


@case("waiting/006", "allocateSandbox 409", "allocateSandbox 201")
def test_a_promised_sandbox_is_not_free(system: System, pool: Pool, line: Queue) -> None:
    """Who does not wait is given nothing that is promised to the queue, but what is free beyond (api: waiting)."""
    first = pool.student()
    begun = line.park(first)
    with unfinished(system, TRACK_LOCK, first.track_id):  # it can be given nothing
        promised = pool.seed()
        for _ in range(2):
            not_parked(pool.student().allocate())
        beyond = pool.seed()
        accepted(pool.student().allocate(), 201)
        for _ in range(2):  # the process has just seen a free one, and does not think that the pool is dry
            not_parked(pool.student().allocate())
    assert served(begun[0].result()) in {*promised, *beyond}


@case("waiting/007", "allocateSandbox 409")
def test_who_waits_overtakes_nobody(system: System, pool: Pool, line: Queue) -> None:
    """A parked request is given nothing that is promised to one before it, however long that takes (api: waiting)."""
    first, second = pool.student(), pool.student()
    begun = line.park(first)
    with unfinished(system, TRACK_LOCK, first.track_id):
        [promised] = pool.seed()
        in_vain(ask(second, "wait=4"), 2, wait_s=4)
    assert served(begun[0].result()) == promised


@case("waiting/008", "allocateSandbox 201", "allocateSandbox 200")
def test_one_track_waits_twice(pool: Pool, line: Queue) -> None:
    """Two parked requests of a track have one place and get one sandbox, as 201 and as 200 (api: waiting)."""
    twice = pool.student()
    begun = [*line.park(twice), *line.park(twice, wait_s=21)]
    for _ in range(3):  # one more, whose end does not end the wait of the others, not even until the next second
        in_vain(ask(twice, "wait=1"), 1, wait_s=1)
        assert line.holds(twice) == 1
    free = pool.seed(2)
    answers = sorted((one.result() for one in begun), key=lambda answer: answer.status)
    assert [answer.status for answer in answers] == [200, 201]
    assert answers[0].headers["idempotent-replay"] == "true"
    assert accepted(answers[0]) == accepted(answers[1], 201)
    assert sorted(pool.status(one) for one in free) == ["allocated", "available"]


@case("waiting/009", "allocateSandbox 409")
@pytest.mark.parametrize("prefer", ["wait=x", "wait=-1", "wait=0", "wait", '{"wait": 2}', "respond-async", COSTLY])
def test_a_preference_that_says_nothing(prefer: str, pool: Pool, line: Queue, unchanged: Unchanged) -> None:
    """A Prefer header that is malformed, or names no time to wait, is ignored (RFC 7240; api: waiting)."""
    somebody = pool.student()
    with unchanged():
        not_parked(ask(somebody, prefer))
        assert line.holds(somebody) == 0


@case("waiting/010", "allocateSandbox 201")
def test_a_wait_is_at_most_30_seconds(system: System, pool: Pool, line: Queue) -> None:
    """A longer wait is one of 30 s, as Preference-Applied says; who finds a sandbox is not parked (api: waiting)."""
    somebody = pool.student()
    [begun] = line.park(somebody, wait_s=3600)
    pool.seed(2)
    answer = begun.result()
    served(answer, wait_s=30)
    system.logs.expect(answer, "sandboxes.parked", wait_s=30)
    at_once = ask(pool.student(), "wait=30")
    accepted(at_once, 201)
    assert "preference-applied" not in at_once.headers


@case("waiting/011", "allocateSandbox 200")
def test_a_client_that_has_left(system: System, pool: Pool, line: Queue) -> None:
    """A client that leaves while it waits finds by asking again what it was given since (api: waiting)."""
    somebody = pool.student()
    with Sockets(system.api.base_url).connect() as connection:
        connection.sendall(asking(somebody))
        eventually(lambda: line.holds(somebody) == 1, within_s=5.0)
    [free] = pool.seed()
    eventually(lambda: pool.status(free) == "allocated", within_s=5.0)
    again = somebody.allocate()
    assert accepted(again)["sandbox_id"] == free
    assert again.headers["idempotent-replay"] == "true"


@case("waiting/012", "allocateSandbox 409", slow="waits 5 s")
@pytest.mark.parametrize("setting", ["MAX_WAITERS", "MAX_WAITERS_PER_PROCESS"])
def test_the_queue_is_full(setting: str, fresh_backend: FreshBackend) -> None:
    """Beyond the most that may wait, in all or in a process, a request is answered at once (api: waiting)."""
    system = fresh_backend(env={f"NEXMDM_{setting}": "2"})
    pool = Pool(system)
    with queue(system) as waiting:
        begun = waiting.park(*pool.students(2), wait_s=3)
        not_parked(ask(pool.student(), "wait=3"))
        for place, one in enumerate(begun, 1):
            in_vain(one.result(), place, wait_s=3)
        in_vain(ask(pool.student(), "wait=1"), 3, wait_s=1)


@case("waiting/025", "allocateSandbox 409")
def test_a_track_has_ten_places(system: System, pool: Pool, line: Queue) -> None:
    """An eleventh request of a track is answered at once, and another track waits as before (api: waiting)."""
    crowded, other = pool.students(2)
    begun = line.park(*[crowded] * 10, wait_s=4)
    eventually(lambda: system.metrics.total("nexmdm_sandboxes_waiters") == 10, within_s=3.0)
    not_parked(ask(crowded, "wait=4"))
    in_vain(ask(other, "wait=1"), 2, wait_s=1)
    for one in begun:
        in_vain(one.result(), 1, wait_s=4)


@case("waiting/013", "allocateSandbox 201", slow="kills processes")
def test_kill_9_of_who_holds_the_first(fresh_backend: FreshBackend) -> None:
    """A request whose process was killed is parked no longer; the next one is served by another (api: waiting)."""
    system: System = fresh_backend(workers=2)
    pool = Pool(system)
    lost, there = pool.students(2)
    victim, other = web_processes(system)
    with queue(system) as waiting, ExitStack() as open_connections:
        with only(system, victim):
            dead = open_connections.enter_context(Sockets(system.api.base_url).connect())
            dead.sendall(asking(lost))
            eventually(lambda: waiting.holds(lost) == 1, within_s=5.0)
        with only(system, other):
            [begun] = waiting.park(there)
        kill(system, victim)
        [free] = pool.seed()
        answer = begun.result()
        assert served(answer) == free
        assert answer.elapsed_ms < 10_000
        pool.seed()
        assert lost.has()["sandbox_id"] != free


@case("waiting/014", "allocateSandbox 401")
def test_a_key_that_is_revoked(system: System, pool: Pool, line: Queue) -> None:
    """A parked request whose key is revoked is 401, and gives its place up (api: waiting)."""
    key, there = api_keys.create(system, role="track"), pool.student()
    revoked = Student(system, key.secret, pool.student().track_id)
    refused_one, begun = *line.park(revoked), *line.park(there)
    api_keys.revoke(system, key.name)
    refused(refused_one.result(), 401, "token_invalid")
    assert line.holds(revoked) == 0
    [free] = pool.seed()
    assert served(begun.result()) == free


@case("waiting/015", "allocateSandbox 201", "getCurrentAllocation 404")
def test_what_a_parked_request_holds(fresh_backend: FreshBackend) -> None:
    """A parked request holds no connection, no place of those in flight, and waits for no disk (api: waiting)."""
    system: System = fresh_backend(env={"NEXMDM_MAX_IN_FLIGHT": "3", "NEXMDM_ALLOCATION_CONNECTIONS": "2"})
    pool = Pool(system)
    refused(pool.student().current(), 404, "no_allocation")
    students = pool.students(20)
    with queue(system) as waiting, as_owner(system) as owner:
        begun = waiting.park(students[0])
        eventually(lambda: count(owner, LISTENING) == 1, within_s=5.0)
        begun += waiting.park(*students[1:])
        assert 1 <= count(owner, ALLOCATING) <= 2
        assert count(owner, LISTENING) == 1
        refused(pool.student().current(), 404, "no_allocation")
        pool.seed(20)
        assert len({served(answer.result()) for answer in begun}) == 20
        eventually(lambda: count(owner, LISTENING) == 0, within_s=5.0)
    assert system.db.value(PERSISTENCE) == "u"  # unlogged


@case("waiting/016", "allocateSandbox 409", slow="ends its backend")
def test_sigterm_answers_who_waits(fresh_backend: FreshBackend) -> None:
    """SIGTERM answers parked requests at once, with their places, and the service ends with code 0 (api: waiting)."""
    system: System = fresh_backend(workers=2)
    pool = Pool(system)
    students = pool.students(4)
    with queue(system) as waiting, ThreadPoolExecutor(1) as stopping:
        begun = waiting.park(*students, wait_s=30)
        started = time.monotonic()
        ended = stopping.submit(system.running.backend.stop)
        for place, one in enumerate(begun, 1):
            in_vain(one.result(), place, wait_s=30)
        assert time.monotonic() - started < 4.0
        assert ended.result() == 0


@case("waiting/017", "allocateSandbox 201", slow="waits 5 s")
def test_a_notification_is_looked_into(system: System, pool: Pool, line: Queue) -> None:
    """What notifies has the queue looked at before its second is over (api: waiting)."""
    somebody = pool.student()
    [begun] = line.park(somebody)

    def renewed_after(last: float) -> float:
        return float(eventually(lambda: (at := system.db.value(UNTIL, somebody.track_id)) > last and at, within_s=5.0))

    gaps = []
    with as_owner(system) as owner:
        for _ in range(4):
            by_itself = renewed_after(system.db.value(UNTIL, somebody.track_id))
            owner.execute("notify nexmdm_sandboxes")
            gaps.append(renewed_after(by_itself) - by_itself)
    assert min(gaps) < 0.8, f"looked after {gaps} s, as if nobody had notified"
    pool.seed()
    served(begun.result())


@case("waiting/018", "allocateSandbox 201", "syncSandboxes 200")
def test_a_sync_serves_who_waits(fresh_backend: FreshBackend) -> None:
    """A sync that has added a sandbox notifies, and the first of the queue gets it (api: waiting)."""
    system: System = fresh_backend(provider=True)
    pool = Pool(system)
    eventually(partial(synced, system), within_s=10.0, what="the sync at the start")
    with queue(system) as waiting, as_owner(system) as owner:
        [begun] = waiting.park(pool.student())
        owner.execute("listen nexmdm_sandboxes")
        [listed] = system.provider.add(1)
        assert accepted(pool.admin("POST", "/v1/admin/sync"))["synced"] == 1
        assert [told.channel for told in owner.notifies(timeout=5.0, stop_after=1)] == ["nexmdm_sandboxes"]
        assert served(begun.result()) == str(listed["csp_id"])


@case("waiting/019", slow="waits for the schedule")
def test_a_dry_pool_is_filled_sooner(fresh_backend: FreshBackend) -> None:
    """While nothing is free a sync runs a minute after the last, not sooner; else at its interval (api: waiting)."""
    system: System = fresh_backend(provider=True)
    pool = Pool(system)
    eventually(partial(synced, system), within_s=10.0, what="the sync at the start")
    system.provider.add(1)
    in_vain(ask(pool.student(), "wait=3"), 1, wait_s=3)
    pool.write("update job_runs set finished_at = now() - interval '50 s' where job = 'sync'")
    in_vain(ask(pool.student(), "wait=3"), 2, wait_s=3)
    assert len(system.provider.calls("list")) == 1
    with queue(system) as waiting:
        [begun] = waiting.park(pool.student())
        pool.write("update job_runs set finished_at = now() - interval '61 s' where job = 'sync'")
        served(begun.result())
    pool.seed()
    pool.write("update job_runs set finished_at = now() - interval '590 s' where job = 'sync'")
    for _ in range(3):  # the jobs look each second
        before = system.db.value("select max(finished_at) from job_runs where job = 'expiry'")
        pool.write("update job_runs set finished_at = now() - interval '1 h' where job = 'expiry'")
        ended = partial(system.db.value, "select max(finished_at) > %s from job_runs where job = 'expiry'", before)
        eventually(ended, within_s=5.0)
    assert len(system.provider.calls("list")) == 2


@case("waiting/020", "allocateSandbox 201", "allocateSandbox 409")
def test_two_reach_for_the_one_beyond(system: System, pool: Pool, line: Queue) -> None:
    """Of two who do not wait, one gets the sandbox beyond the queue, the other none, if both ask at once (api)."""
    first = pool.student()
    [begun] = line.park(first)
    with unfinished(system, TRACK_LOCK, first.track_id) as first_waits, ThreadPoolExecutor(2) as threads:
        pool.seed(2)
        first_waits(1)
        with unfinished(system, "lock table allocations in share mode") as wait_for:  # what writes the ledger waits
            racing = [threads.submit(student.allocate) for student in pool.students(2)]
            wait_for(3)
        assert sorted(one.result().status for one in racing) == [201, 409]
    served(begun.result())


@case("waiting/021", "allocateSandbox 201", slow="waits for a time-out")
def test_a_crowd_at_the_door(system: System, pool: Pool, line: Queue) -> None:
    """A request that waits is parked a second later where too many reach for the queue at once (api: waiting)."""
    somebody = pool.student()
    with ThreadPoolExecutor(1) as threads:
        with unfinished(system, POOL_LOCK) as wait_for:
            begun = threads.submit(ask, somebody, "wait=20")
            wait_for(1)
            wait_for(0)  # it has given up
        eventually(lambda: line.holds(somebody) == 1, within_s=3.0)
        [free] = pool.seed()
        assert served(begun.result()) == free


@case("waiting/022", "allocateSandbox 201", slow="waits for a time-out")
def test_a_look_that_takes_too_long(system: System, pool: Pool, line: Queue) -> None:
    """A parked request waits on where the queue cannot be looked at for seconds (api: waiting)."""
    [begun] = line.park(pool.student())
    with unfinished(system, "lock table api_keys in access exclusive mode") as wait_for:
        wait_for(1)
        wait_for(0)  # it has given up
    [free] = pool.seed()
    assert served(begun.result()) == free


@case("waiting/023", "allocateSandbox 409")
def test_a_place_that_is_lost(pool: Pool, line: Queue) -> None:
    """A parked request takes a place again when its own is gone, as after a crash of the database (api: waiting)."""
    somebody = pool.student()
    [begun] = line.park(somebody, wait_s=4)
    pool.write("delete from waiters")
    eventually(lambda: line.holds(somebody) == 1, within_s=3.0)
    in_vain(begun.result(), 1, wait_s=4)


@case("waiting/024", "allocateSandbox 409", "allocateSandbox 201")
def test_while_the_queue_is_served(system: System, pool: Pool, line: Queue) -> None:
    """While the queue is served a process has connections left for requests that do not wait (api: waiting)."""
    begun = line.park(*pool.students(6))
    with unfinished(system, POOL_LOCK) as wait_for:
        pool.seed(6)
        wait_for(1)
        not_parked(pool.student().allocate())
    for one in begun:
        served(one.result())
