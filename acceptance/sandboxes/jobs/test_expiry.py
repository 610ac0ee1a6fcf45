"""Expiry: an allocation ends when its grace is over, and not before."""

from acceptance.sandboxes.pool import Pool
from acceptance.suite.case import case
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.metrics import Metrics
from harness.provider.server import ProviderControl

HOURS = 3600
LASTS, GRACE = 4 * HOURS, 1800


@case("expiry/001", "expireAllocations 200")
def test_what_is_past_its_grace_is_expired(pool: Pool, logs: Logs, metrics: Metrics, db: Database) -> None:
    """An allocation past its 4 h and 30 min ends as expired, its sandbox waits for deletion (003: auto-expiry)."""
    ids = pool.seed(3)
    students = {}
    for student in pool.students(3):
        students[student.has()["sandbox_id"]] = student
    over, in_grace, live = ids
    pool.age(over, LASTS + GRACE + 2)
    pool.age(in_grace, LASTS + GRACE - 30)
    with metrics.moves({"nexmdm_sandboxes_expired_total": 1}):
        answer = pool.expire()
    body = accepted(answer)
    assert (body["status"], body["expired"], body["remaining"]) == ("completed", 1, 0)
    logs.expect(answer, "sandboxes.expired", sandbox_id=over, track_id=students[over].track_id)
    logs.expect(answer, "sandboxes.job.finished", job="expiry")
    assert pool.statuses() == {over: "pending_deletion", in_grace: "allocated", live: "allocated"}
    ended = pool.ledger(over)
    assert (ended["end_reason"], ended["ended_at"] >= ended["grace_until"]) == ("expired", True)
    assert pool.row(over)["next_attempt_at"] <= db.value("select now()")
    refused(students[over].release(over), 403, "allocation_expired")
    accepted(students[in_grace].release(in_grace))
    assert accepted(pool.expire())["expired"] == 0


@case("expiry/002", "expireAllocations 200", "cleanUpSandboxes 200")
def test_an_expired_sandbox_is_deleted(pool: Pool, provider: ProviderControl) -> None:
    """What expired is deleted at the provider as what was released, and its track may ask for another (003)."""
    [first, second] = pool.seed_listed(provider.add(2))
    student = pool.student()
    held = student.has()["sandbox_id"]
    pool.age(held, LASTS + GRACE + 2)
    accepted(pool.expire())
    assert accepted(pool.cleanup())["deleted"] == 1
    assert student.has()["sandbox_id"] == ({first, second} - {held}).pop()
    assert [call["csp_id"] for call in provider.calls()] == [int(held)]


@case("expiry/003", "expireAllocations 200")
def test_many_are_expired_in_one_run(pool: Pool, db: Database) -> None:
    """A run ends everything that is over, in as many batches as that takes (003: auto-expiry)."""
    pool.seed(450)
    pool.write(
        """
        with taken as (
            update sandboxes set status = 'allocated', first_allocated_at = now() returning sandbox_id
        )
        insert into allocations (sandbox_id, track_id, duration_s, allocated_at, expires_at, grace_until, deadline)
        select sandbox_id, 'track-' || sandbox_id, 14400, at, at + interval '4 h', at + interval '4.5 h',
            at + interval '8 h'
        from taken, (select now() - interval '5 h' as at) as moment
        """
    )
    assert accepted(pool.expire())["expired"] == 450
    assert set(pool.statuses().values()) == {"pending_deletion"}
    assert db.value("select count(*) from allocations where ended_at is null") == 0


@case("expiry/004", "expireAllocations 200", "extendSandbox 200")
def test_what_was_extended_is_not_expired(pool: Pool) -> None:
    """An allocation in its grace that is extended lives on: the sweep follows its own times (sandboxes.md)."""
    [held] = pool.seed()
    student = pool.student()
    student.has()
    pool.age(held, LASTS + GRACE - 30)
    accepted(student.extend(held))
    pool.age(held, 60)
    assert accepted(pool.expire())["expired"] == 0
    accepted(student.current())
