"""An admin and a track reach for one sandbox at the same moment, through both web workers: one of them ends it."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from acceptance.sandboxes.pool import Pool
from acceptance.sandboxes.test_revoke import retry, revoke
from acceptance.suite.case import case
from acceptance.system.concurrency import at_once
from acceptance.system.locks import unfinished
from acceptance.system.match import accepted, refused
from acceptance.system.web_workers import both
from harness.http.client import Answer

Calls = Sequence[Callable[[], Answer]]
ALLOCATION = "select from allocations where sandbox_id = %s for update"
SANDBOX = "select from sandboxes where sandbox_id = %s for update"
EACH = 5  # as many sessions as wait fit into the connections of two workers


@pytest.fixture
def pool(pool_of_two: Pool) -> Pool:
    return pool_of_two


def queued(pool: Pool, row: str, sandbox_id: str, first: Calls, then: Calls) -> tuple[list[Answer], list[Answer]]:
    """The answers of both groups: each call has begun, and waits for the row, the first ones before the others."""
    with both(pool.system), ThreadPoolExecutor(2) as threads:
        with unfinished(pool.system, row, sandbox_id) as wait_for:
            early = threads.submit(at_once, first)
            wait_for(len(first))
            late = threads.submit(at_once, then)
            wait_for(len(first) + len(then))
        return early.result(), late.result()


def statuses(answers: list[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


def ends(pool: Pool, sandbox_id: str) -> list[str]:
    """Every line that says how the sandbox's allocation has ended."""
    events = ("sandboxes.revoked", "sandboxes.released", "sandboxes.expired")
    return [
        line["event"]
        for line in pool.system.logs.since()
        if line["event"] in events and line["sandbox_id"] == sandbox_id
    ]


@case("revoke/007", "revokeSandbox 200", "revokeSandbox 409", "releaseSandbox 403")
def test_revocations_before_releases(pool: Pool) -> None:
    """Of revocations and, behind them, releases of one sandbox the first wins; the track hears why (issue 13)."""
    student, sandbox_id = pool.holder()
    revocations = [partial(revoke, pool, sandbox_id, f"reason {number}") for number in range(EACH)]
    revoked, released = queued(pool, ALLOCATION, sandbox_id, revocations, [partial(student.release, sandbox_id)] * EACH)
    assert statuses(revoked) == {200: 1, 409: EACH - 1}
    [reason] = [answer.json()["revoke_reason"] for answer in revoked if answer.status == 200]
    assert pool.ledger(sandbox_id)["revoke_reason"] == reason
    for answer in released:
        refused(answer, 403, "allocation_revoked")
    assert ends(pool, sandbox_id) == ["sandboxes.revoked"]


@case("revoke/008", "revokeSandbox 409", "releaseSandbox 200")
def test_releases_before_revocations(pool: Pool) -> None:
    """Of releases and, behind them, revocations of one sandbox the release wins, once (issue 13)."""
    student, sandbox_id = pool.holder()
    releases = [partial(student.release, sandbox_id)] * EACH
    released, revoked = queued(pool, ALLOCATION, sandbox_id, releases, [partial(revoke, pool, sandbox_id)] * EACH)
    assert {answer.body for answer in released} == {released[0].body}
    assert statuses(released) == {200: EACH}
    for answer in revoked:
        refused(answer, 409, "not_allocated")
    ledger = pool.ledger(sandbox_id)
    assert (ledger["end_reason"], ledger["revoke_reason"]) == ("released", None)
    assert ends(pool, sandbox_id) == ["sandboxes.released"]


@case("revoke/009", "revokeSandbox 200", "extendSandbox 403")
def test_revocations_before_extensions(pool: Pool) -> None:
    """What was revoked is not extended by a request that had begun before (issue 13)."""
    student, sandbox_id = pool.holder()
    pool.age(sandbox_id, 60)
    before = pool.ledger(sandbox_id)
    extensions = [partial(student.extend, sandbox_id)] * EACH
    revoked, extended = queued(pool, ALLOCATION, sandbox_id, [partial(revoke, pool, sandbox_id)] * EACH, extensions)
    assert statuses(revoked) == {200: 1, 409: EACH - 1}
    for answer in extended:
        refused(answer, 403, "allocation_revoked")
    after = pool.ledger(sandbox_id)
    assert [after[name] for name in ("expires_at", "grace_until")] == [
        before[name] for name in ("expires_at", "grace_until")
    ]


@case("revoke/010", "revokeSandbox 200", "extendSandbox 200")
def test_extensions_before_revocations(pool: Pool) -> None:
    """A sandbox that is being extended is revoked all the same: nothing keeps the admin out (issue 13)."""
    student, sandbox_id = pool.holder()
    pool.age(sandbox_id, 60)
    extensions = [partial(student.extend, sandbox_id)] * EACH
    extended, revoked = queued(pool, ALLOCATION, sandbox_id, extensions, [partial(revoke, pool, sandbox_id)] * EACH)
    assert statuses(extended) <= Counter({200: EACH, 403: EACH})
    assert statuses(revoked) == {200: 1, 409: EACH - 1}
    assert pool.ledger(sandbox_id)["end_reason"] == "revoked"


@case("revoke/011", "revokeSandbox 200", "revokeSandbox 409", "allocateSandbox 201")
@pytest.mark.parametrize("first", ["revocations", "allocations"])
def test_revocations_and_the_tracks_next_allocation(first: str, pool: Pool) -> None:
    """Past its grace an allocation is ended once, by admin or track, and the track gets another (issue 13)."""
    student, sandbox_id = pool.holder()
    pool.age(sandbox_id, 14_400 + 1_800 + 1)
    pool.seed(2)
    revocations = [partial(revoke, pool, sandbox_id)] * EACH
    # Those of one track take turns: of each web worker one reaches the database, and there one waits for the other.
    allocations = [student.allocate] * 2
    if first == "revocations":
        revoked, allocated = queued(pool, ALLOCATION, sandbox_id, revocations, allocations)
    else:
        allocated, revoked = queued(pool, ALLOCATION, sandbox_id, allocations, revocations)
    won = first == "revocations"
    assert statuses(revoked) == ({200: 1, 409: EACH - 1} if won else {409: EACH})
    assert statuses(allocated) == {201: 1, 200: 1}
    [another] = {answer.json()["sandbox_id"] for answer in allocated}
    assert another != sandbox_id
    assert pool.ledger(sandbox_id)["end_reason"] == ("revoked" if won else "expired")
    live = "select sandbox_id from allocations where track_id = %s and ended_at is null"
    assert pool.system.db.value(live, student.track_id) == another


@case("retry-deletion/003", "retrySandboxDeletion 200", "retrySandboxDeletion 409")
def test_of_many_retries_one_counts(pool: Pool) -> None:
    """Of simultaneous retries of one deletion one starts it again, and only that one is logged (issue 13)."""
    [sandbox_id] = pool.seed()
    pool.put(sandbox_id, "deletion_failed")
    calls = [partial(retry, pool, sandbox_id)] * EACH
    first, then = queued(pool, SANDBOX, sandbox_id, calls, calls)
    answers = first + then
    assert statuses(answers) == {200: 1, 409: 2 * EACH - 1}
    lines = [line for line in pool.system.logs.since() if line["event"] == "sandboxes.deletion_retried"]
    assert [line["sandbox_id"] for line in lines] == [sandbox_id]
    assert accepted(pool.admin("GET", "/v1/admin/sandboxes", params={"status": "pending_deletion"}))["items"]
