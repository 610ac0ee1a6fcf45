"""What bounds an allocation: its own duration and grace, the connections of a process, a client that leaves."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from acceptance.sandboxes.pool import Pool
from acceptance.suite.case import case
from acceptance.system.locks import BLOCKED, unfinished
from acceptance.system.match import accepted, refused
from acceptance.system.system import FreshBackend, System
from harness.http.raw_http import Sockets, request
from harness.waiting import eventually

TRACK_LOCK = "select pg_advisory_xact_lock(1396855378, hashtext(%s))"
SHORT = {"NEXMDM_SANDBOX_DURATION_S": "2", "NEXMDM_SANDBOX_GRACE_S": "1", "NEXMDM_SANDBOX_MAX_DURATION_S": "3"}
OWN = {"NEXMDM_SANDBOX_DURATION_S": "2", "NEXMDM_SANDBOX_GRACE_S": "3600", "NEXMDM_SANDBOX_MAX_DURATION_S": "3600"}
LONG = {"NEXMDM_SANDBOX_DURATION_S": "600", "NEXMDM_SANDBOX_GRACE_S": "60", "NEXMDM_SANDBOX_MAX_DURATION_S": "900"}


@case("allocation-limits/001", "allocateSandbox 201", "extendSandbox 200", slow="waits for allocations to run out")
def test_an_allocation_keeps_what_it_was_made_with(fresh_backend: FreshBackend) -> None:
    """Duration, grace and deadline are the allocation's own, also after the settings changed (003: custom duration)."""
    system: System = fresh_backend(env=OWN)
    pool = Pool(system)
    pool.seed(4)
    short, extended = pool.students(2)
    one, two = short.has(), extended.has()
    assert one["expires_at"] - one["allocated_at"] == 2
    system.running.backend.restart(env=LONG)
    system.api.reconnect()
    row = pool.ledger(two["sandbox_id"])
    times = [(row[name] - row["allocated_at"]).total_seconds() for name in ("expires_at", "grace_until", "deadline")]
    assert times == [2, 3602, 3600]
    assert accepted(extended.allocate()) == two
    until = accepted(extended.extend(two["sandbox_id"]))["expires_at"]
    assert two["expires_at"] < until <= system.db.value("select extract(epoch from clock_timestamp())") + 2
    assert accepted(extended.release(two["sandbox_id"]))["status"] == "pending_deletion"
    pool.age(one["sandbox_id"], 3_603)
    refused(short.release(one["sandbox_id"]), 403, "allocation_expired")
    another = short.has()
    assert another["sandbox_id"] != one["sandbox_id"]
    assert another["expires_at"] - another["allocated_at"] == 600
    assert pool.ledger(one["sandbox_id"])["end_reason"] == "expired"


@case("allocation-limits/002", "allocateSandbox 201", "allocateSandbox 200", slow="waits for an allocation to run out")
def test_an_allocation_of_two_seconds(fresh_backend: FreshBackend) -> None:
    """An allocation of 2 s with 1 s of grace is replayed for three seconds, and then over (003: expiry logic)."""
    system: System = fresh_backend(env=SHORT)
    pool = Pool(system)
    pool.seed(2)
    student = pool.student()
    given = student.has()

    seen = []

    def past_grace() -> bool:
        """Ask once more; True where the clock says that the grace was over by then."""
        over = "select extract(epoch from clock_timestamp()) > %s"
        before = system.db.value(over, given["expires_at"] + 1)
        answer = student.allocate()
        if not system.db.value(over, given["expires_at"] + 1):
            seen.append(answer)
        return bool(before)

    pool.clear()  # so that the end of its grace is told by a 409, and not by another sandbox
    eventually(past_grace, within_s=8.0)
    assert len(seen) > 5
    for answer in seen:
        assert accepted(answer) == given
    pool.seed()
    refused(student.current(), 404, "no_allocation")
    refused(student.extend(given["sandbox_id"]), 403, "allocation_expired")
    assert student.has()["sandbox_id"] != given["sandbox_id"]


@case("allocation-limits/003", "allocateSandbox 503", slow="waits for locks to time out")
def test_without_a_free_connection_nobody_hears_409(fresh_backend: FreshBackend) -> None:
    """Who gets no connection of the pool in time hears 503 with Retry-After, never 409 (003: connection pool)."""
    system: System = fresh_backend(env={"NEXMDM_ALLOCATION_CONNECTIONS": "1"})
    pool = Pool(system)
    pool.seed(3)
    held, next_one, late = pool.students(3)
    with ThreadPoolExecutor(3) as threads, ExitStack() as locks:
        for student in (held, next_one, late):  # any may be the one that gets the connection
            locks.enter_context(unfinished(system, TRACK_LOCK, student.track_id))
        waiting = [threads.submit(held.allocate)]
        eventually(lambda: system.db.value(BLOCKED) == 1, within_s=2.0)
        waiting.append(threads.submit(next_one.allocate))
        waiting.append(threads.submit(late.allocate))
        answers = [one.result() for one in waiting]
    for answer in answers:
        refused(answer, 503, "allocation_contended")
        assert answer.headers["retry-after"] == "1"
    assert system.db.value("select count(*) from allocations") == 0
    accepted(late.allocate(), 201)


@case("allocation-limits/004", "allocateSandbox 200")
def test_a_client_that_has_left_finds_its_sandbox(system: System, pool: Pool) -> None:
    """An allocation whose client has left is a whole one, and the client's next request is answered with it (003)."""
    [free] = pool.seed()
    student = pool.student()
    sent = request("POST /v1/allocate", student.authorization, ("X-Track-ID", student.track_id))
    with unfinished(system, TRACK_LOCK, student.track_id), Sockets(system.target.base_url).connect() as connection:
        connection.sendall(sent)
        eventually(lambda: system.db.value(BLOCKED) == 1, within_s=2.0)
    eventually(lambda: pool.status(free) == "allocated", within_s=3.0)
    assert accepted(student.allocate())["sandbox_id"] == free
