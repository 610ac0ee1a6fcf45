"""A student gives a sandbox back, keeps it for longer, or looks at it; only the owner may."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from acceptance.sandboxes.pool import Pool
from acceptance.sandboxes.test_allocation_races import ROW_LOCK
from acceptance.suite.case import case
from acceptance.system.locks import unfinished
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.system import System, Unchanged
from harness.waiting import eventually

HOUR = 3_600
LONGER = """
    update allocations set expires_at = expires_at + %(by)s::interval, grace_until = grace_until + %(by)s::interval
    where sandbox_id = %(sandbox_id)s
"""
OVER = "select grace_until < clock_timestamp() from allocations where sandbox_id = %s"
RELEASES = 'nexmdm_sandboxes_releases_total{{outcome="{0}"}}'


@case("release/001", "releaseSandbox 200")
def test_an_owner_gives_a_sandbox_back(system: System, pool: Pool) -> None:
    """The owner's sandbox is to be deleted at once, and the ledger says so (003: mark for deletion)."""
    pool.seed()
    somebody = pool.student(lab="docker-intro")
    sandbox_id = somebody.has()["sandbox_id"]
    with system.metrics.moves({RELEASES.format("released"): 1}):
        answer = somebody.release(sandbox_id)
    row = pool.ledger(sandbox_id)
    assert accepted(answer) == {
        "sandbox_id": sandbox_id,
        "status": "pending_deletion",
        "deletion_requested_at": row["ended_at"].timestamp(),
        "track_name": "docker-intro",
    }
    assert row["end_reason"] == "released"
    sandbox = pool.row(sandbox_id)
    assert sandbox["status"] == "pending_deletion"
    assert sandbox["next_attempt_at"] <= system.db.value("select clock_timestamp()")
    system.logs.expect(answer, "sandboxes.released", sandbox_id=sandbox_id, track_id=somebody.track_id)
    system.logs.expect(answer, "db_operation", entity="allocations", keys={"sandbox_id": sandbox_id, "rows": 1})
    refused(somebody.current(), 404, "no_allocation")


@case("release/002", "releaseSandbox 200")
@pytest.mark.parametrize("by_now", ["pending_deletion", "deleting", "deletion_failed", "deleted"])
def test_the_owner_s_repeat_is_the_same_answer(by_now: str, system: System, pool: Pool, unchanged: Unchanged) -> None:
    """Who gives back twice hears the same twice, also when the sandbox is deleted by now (003: mark for deletion)."""
    somebody, sandbox_id = pool.holder()
    first = accepted(somebody.release(sandbox_id))
    pool.put(sandbox_id, by_now)
    with system.metrics.moves({RELEASES.format("replay"): 1}), unchanged():
        answer = somebody.release(sandbox_id)
    assert accepted(answer) == first
    assert system.logs.of(answer, "sandboxes.released") == []


@case("release/003", "releaseSandbox 403", "extendSandbox 403", "getSandbox 403")
@pytest.mark.parametrize("over", [False, True], ids=["live", "released"])
def test_another_s_sandbox(over: bool, system: System, pool: Pool, unchanged: Unchanged) -> None:
    """Another track's sandbox is 403 to release, extend and view, and no answer names the owner (003: not owner)."""
    pool.seed()
    owner, other = pool.student(lab="docker-intro"), pool.student()
    sandbox_id = owner.has(key="of-the-owner")["sandbox_id"]
    if over:
        accepted(owner.release(sandbox_id))
    with system.metrics.moves({RELEASES.format("refused"): 1}), unchanged():
        for ask in (other.release, other.extend, other.look):
            answer = ask(sandbox_id)
            refused(answer, 403, "not_sandbox_owner")
            said = answer.body.decode() + str(answer.headers)
            assert not [name for name in (owner.track_id, "docker-intro", "of-the-owner") if name in said]
    assert pool.status(sandbox_id) == ("pending_deletion" if over else "allocated")


@case("release/004", "releaseSandbox 404", "extendSandbox 404", "getSandbox 404")
def test_an_unknown_sandbox(pool: Pool, unchanged: Unchanged) -> None:
    """A sandbox that nobody ever had is as unknown as one that is none: 404 (003: not found)."""
    [free] = pool.seed()
    somebody = pool.student()
    with unchanged():
        for sandbox_id in (free, "sb-unknown", "x" * 64):
            for ask in (somebody.release, somebody.extend, somebody.look):
                refused(ask(sandbox_id), 404, "sandbox_not_found")
    assert pool.status(free) == "available"


@case("release/005", "releaseSandbox 422", "extendSandbox 422", "getSandbox 422")
@pytest.mark.parametrize("sandbox_id", ["x" * 65, "a%20b", "%C3%A4", "a%00b", "'--"])
def test_an_id_that_is_none(sandbox_id: str, pool: Pool, unchanged: Unchanged) -> None:
    """A path that cannot be the id of a sandbox is 422 and changes nothing."""
    somebody = pool.student()
    with unchanged():
        for ask in (somebody.release, somebody.extend, somebody.look):
            assert pointers(refused(ask(sandbox_id), 422, "validation_error")) == {"/path/sandbox_id"}


@case("release/006", "releaseSandbox 200", "releaseSandbox 403", "extendSandbox 403")
def test_to_the_end_of_grace(system: System, pool: Pool, unchanged: Unchanged) -> None:
    """Until its grace is over a sandbox can be given back; past it that is 403, nothing is written (003: grace)."""
    pool.seed(2)
    in_time, late = pool.student(), pool.student()
    sooner, later = (each.has()["sandbox_id"] for each in (in_time, late))
    pool.age(sooner, 4 * HOUR + 1_770)
    pool.age(later, 4 * HOUR + 1_801)
    accepted(in_time.release(sooner))
    with system.metrics.moves({RELEASES.format("refused"): 1}), unchanged():
        refused(late.release(later), 403, "allocation_expired")
        refused(late.extend(later), 403, "allocation_expired")
    assert pool.status(later) == "allocated"


@case("release/007", "releaseSandbox 403", "extendSandbox 403")
@pytest.mark.parametrize("how,code", [("expired", "allocation_expired"), ("revoked", "allocation_revoked")])
def test_what_was_ended_by_others(how: str, code: str, pool: Pool, unchanged: Unchanged) -> None:
    """What expiry or an admin has ended can be neither given back nor extended: 403 with the reason (api)."""
    somebody, sandbox_id = pool.holder()
    pool.end(sandbox_id, how)
    with unchanged():
        refused(somebody.release(sandbox_id), 403, code)
        refused(somebody.extend(sandbox_id), 403, code)


@case("release/008", "releaseSandbox 403", "extendSandbox 403")
@pytest.mark.parametrize("operation", ["mark-for-deletion", "extend"])
def test_grace_ends_while_the_row_is_held(operation: str, system: System, pool: Pool) -> None:
    """A release or extension that waits for its row beyond the end of grace is 403 allocation_expired (api)."""
    somebody, sandbox_id = pool.holder()
    pool.age(sandbox_id, 4 * HOUR + 1_798)
    over = partial(system.db.value, OVER, sandbox_id)
    with ThreadPoolExecutor(1) as threads:
        with unfinished(system, ROW_LOCK, sandbox_id) as wait_for:
            asked = threads.submit(somebody.call, "POST", f"/v1/sandboxes/{sandbox_id}/{operation}")
            wait_for(1)
            assert not over()
            eventually(over, within_s=3.0)
        refused(asked.result(), 403, "allocation_expired")
    assert pool.ledger(sandbox_id)["end_reason"] != "released"


@case("extend/001", "extendSandbox 200")
def test_an_extension_lasts_from_now(system: System, pool: Pool) -> None:
    """An extension lasts the duration from now on, once, and the grace moves with it (003: custom duration)."""
    somebody, sandbox_id = pool.holder()
    pool.age(sandbox_id, HOUR)
    before = pool.ledger(sandbox_id)
    answer = somebody.extend(sandbox_id)
    shown, now = accepted(answer), system.db.value("select extract(epoch from now())::bigint")
    row = pool.ledger(sandbox_id)
    assert abs(shown["expires_at"] - (now + 4 * HOUR)) <= 3
    assert row["expires_at"].timestamp() == shown["expires_at"]
    assert row["grace_until"] - row["expires_at"] == before["grace_until"] - before["expires_at"]
    assert (row["deadline"], row["allocated_at"]) == (before["deadline"], before["allocated_at"])
    assert shown["status"] == "allocated"
    system.logs.expect(
        answer, "sandboxes.extended", sandbox_id=sandbox_id, track_id=somebody.track_id, expires_at=shown["expires_at"]
    )
    system.logs.expect(answer, "db_operation", entity="allocations", keys={"sandbox_id": sandbox_id, "rows": 1})
    assert accepted(somebody.allocate())["expires_at"] == shown["expires_at"]


@case("extend/002", "extendSandbox 200", "extendSandbox 409")
def test_no_extension_goes_beyond_the_deadline(pool: Pool, unchanged: Unchanged) -> None:
    """Eight hours after it began an allocation ends, and what has reached that is 409 extension_limit (api)."""
    somebody, sandbox_id = pool.holder()
    pool.age(sandbox_id, 4 * HOUR + 60)
    shown = accepted(somebody.extend(sandbox_id))
    assert shown["expires_at"] == shown["allocated_at"] + 8 * HOUR
    with unchanged():
        refused(somebody.extend(sandbox_id), 409, "extension_limit")
    pool.age(sandbox_id, 4 * HOUR)
    with unchanged():
        refused(somebody.extend(sandbox_id), 409, "extension_limit")


@case("extend/003", "extendSandbox 200")
def test_an_extension_never_shortens(pool: Pool) -> None:
    """An extension never brings the end nearer, and a repeat adds nothing (api)."""
    somebody, sandbox_id = pool.holder()
    pool.write(LONGER, by="2 hours", sandbox_id=sandbox_id)
    until = pool.ledger(sandbox_id)["expires_at"]
    assert [accepted(somebody.extend(sandbox_id))["expires_at"] for _ in range(3)] == [until.timestamp()] * 3


@case("extend/004", "extendSandbox 200")
def test_in_grace_an_extension_is_still_had(system: System, pool: Pool) -> None:
    """A track that asks within the grace keeps its sandbox (api)."""
    somebody, sandbox_id = pool.holder()
    pool.age(sandbox_id, 4 * HOUR + 1_700)
    shown = accepted(somebody.extend(sandbox_id))
    assert shown["expires_at"] > system.db.value("select extract(epoch from now())") + 3 * HOUR
    pool.age(sandbox_id, 2 * HOUR)
    assert accepted(somebody.allocate())["sandbox_id"] == sandbox_id


@case("extend/005", "extendSandbox 200")
def test_an_extension_that_waits_for_its_row(system: System, pool: Pool) -> None:
    """An extension lasts the duration from the moment at which it has its row (api)."""
    somebody, sandbox_id = pool.holder()
    pool.age(sandbox_id, HOUR)
    second = partial(system.db.value, "select floor(extract(epoch from clock_timestamp()))::bigint")
    with ThreadPoolExecutor(1) as threads:
        with unfinished(system, ROW_LOCK, sandbox_id) as wait_for:
            asked = threads.submit(somebody.extend, sandbox_id)
            wait_for(1)
            begun = second()
            had = eventually(lambda: (now := second()) > begun + 1 and now, within_s=4.0)
        assert accepted(asked.result())["expires_at"] >= had + 4 * HOUR


@case("sandbox-view/001", "getSandbox 200", "getCurrentAllocation 200")
def test_an_owner_looks_at_a_live_sandbox(pool: Pool, unchanged: Unchanged) -> None:
    """The owner sees the sandbox by its id and as the current one: the same, with every time (003: get sandbox)."""
    pool.seed()
    somebody = pool.student(lab="aws-networking-101")
    allocated = somebody.has()
    with unchanged():
        shown = accepted(somebody.look(allocated["sandbox_id"]))
        assert accepted(somebody.current()) == shown
    assert shown == allocated | {"status": "allocated", "ended_at": None, "end_reason": None}


@case("sandbox-view/002", "getSandbox 200")
@pytest.mark.parametrize("how", ["released", "expired", "revoked"])
@pytest.mark.parametrize("by_now", ["pending_deletion", "deleting", "deletion_failed", "deleted"])
def test_an_ended_one_is_still_seen_by_its_owner(how: str, by_now: str, pool: Pool) -> None:
    """The track that had a sandbox sees how and when it ended, and what has become of it (003: get sandbox)."""
    pool.seed()
    somebody = pool.student()
    allocated = somebody.has()
    sandbox_id = allocated["sandbox_id"]
    pool.end(sandbox_id, how)
    pool.put(sandbox_id, by_now)
    ended_at = pool.ledger(sandbox_id)["ended_at"].timestamp()
    ended = {"status": by_now, "ended_at": ended_at, "end_reason": how}
    assert accepted(somebody.look(allocated["sandbox_id"])) == allocated | ended
    refused(somebody.current(), 404, "no_allocation")


@case("sandbox-view/003", "getCurrentAllocation 404", "getSandbox 200")
def test_what_is_past_its_grace_is_current_no_more(pool: Pool, unchanged: Unchanged) -> None:
    """Past its grace an allocation is not the current one, also before any job has ended it (003: expiry logic)."""
    pool.seed()
    somebody, nobody = pool.student(), pool.student()
    sandbox_id = somebody.has()["sandbox_id"]
    pool.age(sandbox_id, 4 * HOUR + 1_770)
    assert accepted(somebody.current())["sandbox_id"] == sandbox_id
    pool.age(sandbox_id, 31)
    with unchanged():
        refused(somebody.current(), 404, "no_allocation")
        assert accepted(somebody.look(sandbox_id))["ended_at"] is None
        refused(nobody.current(), 404, "no_allocation")
