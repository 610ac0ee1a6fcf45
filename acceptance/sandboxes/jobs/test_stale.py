"""Rows that leave the pool without the provider: stale ones after a day, stale and failed ones at an admin's word."""

import pytest

from acceptance.sandboxes.pool import Pool
from acceptance.suite.case import case
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from harness.provider.server import ProviderControl

AGE = "update sandboxes set status_since = now() - make_interval(hours => %(hours)s) where sandbox_id = %(sandbox_id)s"


def stale(pool: Pool, *hours: int) -> list[str]:
    """Sandboxes that have been stale for so many hours."""
    ids = pool.seed(len(hours))
    for sandbox_id, age in zip(ids, hours, strict=True):
        pool.put(sandbox_id, "stale")
        pool.write(AGE, sandbox_id=sandbox_id, hours=age)
    return ids


@case("stale/001", "deleteStaleSandboxes 200")
def test_what_has_been_stale_for_a_day_is_removed(pool: Pool, provider: ProviderControl, logs: Logs) -> None:
    """A sandbox that has been stale for 24 h is forgotten; a younger one, and an available one, are not (003)."""
    old, young = stale(pool, 25, 23)
    [free] = pool.seed()
    pool.write(AGE, sandbox_id=free, hours=100)
    answer = pool.remove_stale()
    body = accepted(answer)
    assert (body["status"], body["deleted"], body["remaining"]) == ("completed", 1, 0)
    logs.expect(answer, "sandboxes.job.finished", job="stale")
    assert pool.statuses() == {young: "stale", free: "available"}
    assert old not in pool.statuses()
    assert provider.calls() == []


@case("stale/002", "deleteStaleSandboxes 200")
@pytest.mark.parametrize("hours,left", [(0, 0), (10, 1), (8760, 3)])
def test_the_grace_is_the_callers(hours: int, left: int, pool: Pool) -> None:
    """`grace_period_hours` from 0 to 8760 replaces the 24 hours (003: auto-delete-stale)."""
    stale(pool, 11, 30, 5)
    assert accepted(pool.remove_stale(grace_period_hours=hours))["deleted"] == 3 - left
    assert len(pool.statuses()) == left


@case("stale/003", "deleteStaleSandboxes 422")
@pytest.mark.parametrize("hours", ["-1", "8761", "x", "", "1.5", "1e2", "9" * 400])
def test_a_grace_out_of_bounds_is_refused(hours: str, pool: Pool) -> None:
    """A grace that is no whole number from 0 to 8760 is 422; nothing is removed (sandboxes.md)."""
    ids = stale(pool, 9000)
    refused(pool.remove_stale(grace_period_hours=hours), 422, "validation_error")
    assert list(pool.statuses()) == ids


@case("stale/004", "bulkDeleteSandboxes 200")
def test_stale_ones_are_removed_at_an_admins_word(pool: Pool, provider: ProviderControl, logs: Logs) -> None:
    """bulk-delete of `stale` removes all stale rows, of whatever age, and nothing else (003: bulk-delete)."""
    stale(pool, 0, 1, 100)
    [free, failed] = pool.seed(2)
    pool.put(failed, "deletion_failed")
    answer = pool.bulk_delete(status="stale")
    assert accepted(answer)["deleted"] == 3
    logs.expect(answer, "sandboxes.bulk_deleted", status="stale", deleted=3)
    assert pool.statuses() == {free: "available", failed: "deletion_failed"}
    assert provider.calls() == []


@case("stale/005", "bulkDeleteSandboxes 200", "syncSandboxes 200")
def test_failed_deletions_are_given_up_at_an_admins_word(pool: Pool, provider: ProviderControl) -> None:
    """bulk-delete of `deletion_failed` makes tombstones and calls nobody: such a sandbox never comes back (003)."""
    ids = pool.released(provider.add(2))
    for sandbox_id in ids:
        pool.put(sandbox_id, "deletion_failed")
    waiting = stale(pool, 100)
    assert accepted(pool.bulk_delete(status="deletion_failed"))["deleted"] == 2
    assert pool.statuses() == dict.fromkeys(ids, "deleted") | dict.fromkeys(waiting, "stale")
    assert provider.calls() == []
    accepted(pool.sync(force=True))
    assert [pool.status(one) for one in ids] == ["deleted", "deleted"]


@case("stale/006", "bulkDeleteSandboxes 422")
@pytest.mark.parametrize("status", ["available", "allocated", "pending_deletion", "deleting", "deleted", "", "*", None])
def test_no_other_state_is_deleted_in_bulk(status: str | None, pool: Pool) -> None:
    """bulk-delete without a status, or of any other than the two, is 422 and changes no row (sandboxes.md)."""
    ids = pool.seed(7)
    states = ["available", "allocated", "pending_deletion", "deleting", "deleted", "stale", "deletion_failed"]
    for sandbox_id, state in zip(ids, states, strict=True):
        pool.put(sandbox_id, state)
    before = pool.statuses()
    refused(pool.bulk_delete(**({} if status is None else {"status": status})), 422, "validation_error")
    refused(pool.admin("POST", "/v1/admin/bulk-delete?status=stale&status=stale"), 422, "validation_error")
    assert pool.statuses() == before


@case("stale/007", "deleteStaleSandboxes 200", "syncSandboxes 200")
def test_what_was_removed_may_come_back(pool: Pool, provider: ProviderControl) -> None:
    """A sandbox that was never given out leaves no tombstone: listed again it is new (sandboxes.md: states)."""
    [account] = provider.add()
    [gone] = pool.seed_listed([account])
    pool.put(gone, "stale")
    assert accepted(pool.remove_stale(grace_period_hours=0))["deleted"] == 1
    accepted(pool.sync())
    assert pool.student().has()["sandbox_id"] == gone
