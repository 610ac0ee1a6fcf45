"""The broker without a provider: it gives out what its pool has, and says what it cannot do."""

import pytest

from acceptance.sandboxes.pool import Pool
from acceptance.suite.case import case
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.system import Unchanged

JOBS = ("sync", "cleanup", "auto-expire", "auto-delete-stale", "bulk-delete?status=stale")


@case("pool-jobs/001", "syncSandboxes 503", "cleanUpSandboxes 503")
def test_without_a_provider_the_pool_is_served(pool: Pool, logs: Logs) -> None:
    """Without a provider sync and cleanup are 503 provider_not_configured; all else works; a warning says so."""
    for job in ("sync", "cleanup"):
        refused(pool.admin("POST", f"/v1/admin/{job}"), 503, "provider_not_configured")
    [given] = pool.seed()
    student = pool.student()
    assert student.has()["sandbox_id"] == given
    accepted(student.release(given))
    for job in JOBS[2:]:
        accepted(pool.admin("POST", f"/v1/admin/{job}"))
    assert pool.status(given) == "pending_deletion"
    said = [line for line in logs.tap.since(0) if line.get("dependency") == "provider"]
    assert [(line["event"], line["level"]) for line in said] == [("dependency.unavailable", "WARNING")]


@case(
    "pool-jobs/002",
    *(
        f"{name} 403"
        for name in (
            "syncSandboxes",
            "cleanUpSandboxes",
            "expireAllocations",
            "deleteStaleSandboxes",
            "bulkDeleteSandboxes",
        )
    ),
)
@pytest.mark.parametrize("job", JOBS)
def test_a_track_runs_no_job(job: str, pool: Pool, unchanged: Unchanged) -> None:
    """A key of a track may not run a job: 403 admin_required; no key is 401 (003: admin endpoints)."""
    pool.seed()
    student = pool.student()
    student.has()
    with unchanged():
        refused(student.call("POST", f"/v1/admin/{job}"), 403, "admin_required")
        refused(pool.system.api.request("POST", f"/v1/admin/{job}"), 401, "token_missing")
