"""What an admin decides about one sandbox: to take it from its track, and to try its failed deletion again."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from acceptance.sandboxes.pool import Pool
from acceptance.sandboxes.test_pool import LIST, STATUSES, seconds
from acceptance.suite.case import case
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.system import Unchanged
from harness.http.client import Answer

A_SECOND = timedelta(seconds=1)


def in_state(pool: Pool, status: str) -> str:
    """A sandbox in this state."""
    [sandbox_id] = pool.seed()
    if status == "allocated":
        assert pool.student().has()["sandbox_id"] == sandbox_id
    else:
        pool.put(sandbox_id, status)
    return sandbox_id


def revoke(pool: Pool, sandbox_id: str, reason: str = "the lab is closed") -> Answer:
    return pool.admin("POST", f"{LIST}/{sandbox_id}/revoke", json={"reason": reason})


def retry(pool: Pool, sandbox_id: str) -> Answer:
    return pool.admin("POST", f"{LIST}/{sandbox_id}/retry-deletion")


def refused_in(
    status: str, ask: Callable[[Pool, str], Answer], code: str, pool: Pool, unchanged: Unchanged
) -> tuple[Answer, str]:
    """The 409 to what is asked of a sandbox in this state, and which sandbox it was."""
    sandbox_id = in_state(pool, status)
    with unchanged():
        answer = ask(pool, sandbox_id)
        problem = refused(answer, 409, code)
    assert problem["detail"] == f"The sandbox is {status}."
    return answer, sandbox_id


@case(
    "revoke/001",
    "revokeSandbox 200",
    "releaseSandbox 403",
    "extendSandbox 403",
    "getSandbox 200",
    "allocateSandbox 410",
)
def test_a_revoked_sandbox_is_the_tracks_no_longer(pool: Pool, unchanged: Unchanged) -> None:
    """A revocation ends the allocation; its track hears 403 allocation_revoked and may have another (issue 13)."""
    [sandbox_id] = pool.seed()
    student = pool.student(lab="docker-intro")
    student.has("once")
    before = pool.row(sandbox_id)
    answer = revoke(pool, sandbox_id, "x" * 500)
    seen = accepted(answer)
    row, ledger = pool.row(sandbox_id), pool.ledger(sandbox_id)
    assert (row["status"], ledger["end_reason"], ledger["revoke_reason"]) == ("pending_deletion", "revoked", "x" * 500)
    assert before["status_since"] < row["status_since"] <= row["next_attempt_at"] < row["status_since"] + A_SECOND
    assert ledger["ended_at"] >= ledger["allocated_at"]
    assert ledger["ended_at"].microsecond == 0
    assert {name: seen[name] for name in ("status", "track_id", "track_name", "end_reason", "revoke_reason")} == {
        "status": "pending_deletion",
        "track_id": student.track_id,
        "track_name": "docker-intro",
        "end_reason": "revoked",
        "revoke_reason": "x" * 500,
    }
    assert seen["ended_at"] == seconds(ledger["ended_at"])
    named = {"sandbox_id": sandbox_id, "track_id": student.track_id, "track_name": "docker-intro"}
    pool.system.logs.expect(answer, "sandboxes.revoked", level="INFO", **named)
    pool.system.logs.expect(
        answer, "db_operation", operation="update", entity="allocations", keys={"sandbox_id": sandbox_id, "rows": 1}
    )
    with unchanged():
        for refusal in (student.release(sandbox_id), student.extend(sandbox_id)):
            refused(refusal, 403, "allocation_revoked")
        refused(student.allocate("once"), 410, "allocation_ended")
        refused(student.current(), 404, "no_allocation")
        assert accepted(student.look(sandbox_id))["end_reason"] == "revoked"
        refused(pool.student().look(sandbox_id), 403, "not_sandbox_owner")
    [another] = pool.seed()
    assert student.has()["sandbox_id"] == another


@case("revoke/002", "revokeSandbox 409")
@pytest.mark.parametrize("status", [status for status in STATUSES if status != "allocated"])
def test_only_an_allocation_is_revoked(status: str, pool: Pool, unchanged: Unchanged) -> None:
    """A sandbox in any other state is 409 not_allocated and stays as it is (issue 13)."""
    answer, sandbox_id = refused_in(status, revoke, "not_allocated", pool, unchanged)
    assert not pool.system.logs.of(answer, "sandboxes.revoked")
    tried = {"sandbox_id": sandbox_id, "rows": 0}
    pool.system.logs.expect(answer, "db_operation", operation="update", entity="allocations", keys=tried)


@case("revoke/003", "revokeSandbox 409")
def test_a_second_revocation_changes_nothing(pool: Pool, unchanged: Unchanged) -> None:
    """A sandbox that was revoked or released is 409 not_allocated: how it ended and why stays (issue 13)."""
    pool.seed(2)
    one, other = pool.student(), pool.student()
    revoked, released = one.has()["sandbox_id"], other.has()["sandbox_id"]
    accepted(revoke(pool, revoked, "first"))
    accepted(other.release(released))
    with unchanged():
        for sandbox_id in (revoked, released):
            answer = revoke(pool, sandbox_id, "second")
            refused(answer, 409, "not_allocated")
            assert not pool.system.logs.of(answer, "sandboxes.revoked")


@case("revoke/004", "revokeSandbox 404", "retrySandboxDeletion 404", "revokeSandbox 422", "retrySandboxDeletion 422")
@pytest.mark.parametrize(
    "sandbox_id,status,code",
    [("sb-nobody", 404, "sandbox_not_found"), ("~", 422, "validation_error"), ("s" * 65, 422, "validation_error")],
)
def test_an_unknown_sandbox(sandbox_id: str, status: int, code: str, pool: Pool, unchanged: Unchanged) -> None:
    """An unknown id is a 404, and what is no id a 422 that names it (003: 404)."""
    with unchanged():
        for answer in (revoke(pool, sandbox_id), retry(pool, sandbox_id)):
            problem = refused(answer, status, code)
            assert status == 404 or pointers(problem) == {"/path/sandbox_id"}
            pool.system.logs.expect(answer, "http.request", status=status)


@case("revoke/005", "revokeSandbox 422", "revokeSandbox 400", "revokeSandbox 415", "revokeSandbox 413")
def test_a_revocation_says_why(pool: Pool, unchanged: Unchanged) -> None:
    """A reason has 1 to 500 characters; any other body is a documented 4xx and revokes nothing (issue 13)."""
    sandbox_id = in_state(pool, "allocated")
    wrong: list[tuple[Any, str]] = [
        ({}, "/body/reason"),
        ({"reason": ""}, "/body/reason"),
        ({"reason": "x" * 501}, "/body/reason"),
        ({"reason": None}, "/body/reason"),
        ({"reason": 1}, "/body/reason"),
        ({"reason": "a\x00b"}, "/body/reason"),
        ({"reason": "fine", "force": True}, "/body"),
        ([], "/body"),
    ]
    path = f"{LIST}/{sandbox_id}/revoke"
    json_type = {"Content-Type": "application/json"}
    with unchanged():
        for body, pointer in wrong:
            answer = pool.admin("POST", path, json=body)
            assert pointers(refused(answer, 422, "validation_error")) == {pointer}, body
        refused(pool.admin("POST", path, content=b'{"reason": "half', headers=json_type), 400, "malformed_json")
        refused(pool.admin("POST", path, content=b'{"reason": "why"}'), 415, "unsupported_media_type")
        large = b'{"reason": "why"' + b" " * 65_536 + b"}"
        refused(pool.admin("POST", path, content=large, headers=json_type), 413, "payload_too_large")
    assert pool.ledger(sandbox_id)["ended_at"] is None
    longest = "ü" * 500
    assert accepted(revoke(pool, sandbox_id, longest))["revoke_reason"] == longest


@case("revoke/006", "revokeSandbox 200")
def test_a_revocation_takes_what_no_sweep_has_ended_yet(pool: Pool) -> None:
    """An allocation past its grace that nothing has ended yet can be revoked (issue 13)."""
    sandbox_id = in_state(pool, "allocated")
    pool.age(sandbox_id, 14_400 + 1_800 + 1)
    assert accepted(revoke(pool, sandbox_id))["end_reason"] == "revoked"


@case("retry-deletion/001", "retrySandboxDeletion 200")
def test_a_failed_deletion_gets_all_its_attempts_again(pool: Pool) -> None:
    """deletion_failed becomes pending_deletion, due now, with no attempts; its last error stays (issue 13)."""
    sandbox_id = in_state(pool, "deletion_failed")
    pool.write("update sandboxes set delete_attempts = 8, last_error = '500' where sandbox_id = %(id)s", id=sandbox_id)
    before = pool.row(sandbox_id)
    answer = retry(pool, sandbox_id)
    seen, row = accepted(answer), pool.row(sandbox_id)
    assert (row["status"], row["delete_attempts"], row["last_error"]) == ("pending_deletion", 0, "500")
    assert before["status_since"] < row["status_since"] <= row["next_attempt_at"] < row["status_since"] + A_SECOND
    assert (seen["status"], seen["delete_attempts"]) == ("pending_deletion", 0)
    assert seen["next_attempt_at"] == seconds(row["next_attempt_at"])
    pool.system.logs.expect(answer, "sandboxes.deletion_retried", level="INFO", sandbox_id=sandbox_id)
    pool.system.logs.expect(
        answer, "db_operation", operation="update", entity="sandboxes", keys={"sandbox_id": sandbox_id, "rows": 1}
    )


@case("retry-deletion/002", "retrySandboxDeletion 409")
@pytest.mark.parametrize("status", [status for status in STATUSES if status != "deletion_failed"])
def test_only_a_failed_deletion_is_tried_again(status: str, pool: Pool, unchanged: Unchanged) -> None:
    """A sandbox in any other state is 409 not_deletion_failed and stays as it is (issue 13)."""
    answer, sandbox_id = refused_in(status, retry, "not_deletion_failed", pool, unchanged)
    assert not pool.system.logs.of(answer, "sandboxes.deletion_retried")
    tried = {"sandbox_id": sandbox_id, "rows": 0}
    pool.system.logs.expect(answer, "db_operation", operation="update", entity="sandboxes", keys=tried)
