"""Sync: what the provider's list does to the pool."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from acceptance.sandboxes.pool import Pool, listing
from acceptance.suite.case import case
from acceptance.system.concurrency import at_once
from acceptance.system.database import Database
from acceptance.system.locks import unfinished
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.metrics import Metrics
from acceptance.system.system import System
from harness.provider.server import ProviderControl

CHANGED = 'nexmdm_sandboxes_sync_rows_total{{change="{}"}}'


ONE_AT_A_TIME = "select pg_advisory_xact_lock(1396855379, 0)"  # what a sync has while it writes
BEGUN = """
    insert into sandboxes (sandbox_id, external_id, name, status, made_available_at)
    values (%s, %s, 'begun', 'available', now())
"""


def synced(pool: Pool, **params: Any) -> dict[str, Any]:
    """The counts of a sync that completed."""
    body: dict[str, Any] = accepted(pool.sync(**params))
    assert body.pop("status") == "completed"
    assert body.pop("duration_ms") >= 0
    return body


@case("pool-sync/001", "syncSandboxes 200")
def test_a_listed_sandbox_is_given_out(pool: Pool, provider: ProviderControl, logs: Logs, metrics: Metrics) -> None:
    """An active sandbox that the provider lists becomes available, with its id, name and external id (003: sync)."""
    first, second = provider.add(2)
    with metrics.moves({'nexmdm_sandboxes_sync_total{outcome="completed"}': 1, CHANGED.format("added"): 2}):
        answer = pool.sync()
    assert {key: accepted(answer)[key] for key in ("status", "synced", "marked_stale")} == {
        "status": "completed",
        "synced": 2,
        "marked_stale": 0,
    }
    logs.expect(answer, "sandboxes.job.finished", job="sync", outcome="completed")
    for account in (first, second):
        row = pool.row(str(account["csp_id"]))
        assert (row["external_id"], row["name"], row["status"]) == (account["id"], account["name"], "available")
    given = [student.has() for student in pool.students(2)]
    assert {(one["sandbox_id"], one["external_id"]) for one in given} == {
        (str(one["csp_id"]), one["id"]) for one in (first, second)
    }
    assert [call["authorized"] for call in provider.calls("list")] == [True]


@case("pool-sync/002", "syncSandboxes 200")
def test_other_accounts_are_passed_over(pool: Pool, provider: ProviderControl, metrics: Metrics) -> None:
    """Accounts of another type, whatever they lack, and sandboxes that are not active are neither kept nor skipped."""
    [good] = provider.add()
    provider.add(account_type="tenant")
    provider.add(state="pending")
    provider.put({}, {"account_type": "tenant"}, {"account_type": None, "id": 7}, {"state": "active", "name": "x"})
    [gone] = pool.seed()
    with metrics.moves({CHANGED.format("skipped"): 0, CHANGED.format("stale"): 1}):
        assert synced(pool) == {"synced": 1, "marked_stale": 1}
    assert pool.statuses() == {str(good["csp_id"]): "available", gone: "stale"}


MISSING: Any = object()
SHAPES: dict[str, dict[str, Any]] = {
    "without a csp_id": {"csp_id": MISSING},
    "without a state": {"state": MISSING},
    "a csp_id that is text": {"csp_id": "12"},
    "a csp_id that is true": {"csp_id": True},
    "a negative csp_id": {"csp_id": -1},
    "without an id": {"id": MISSING},
    "an id of another shape": {"id": "identity/users/0b7b1d2e-0000-4000-8000-000000000000"},
    "an id that climbs": {"id": "identity/accounts/../../users/7"},
    "without a name": {"name": MISSING},
    "no text as a name": {"name": None},
    "a name that is a number": {"name": 7},
}


@case("pool-sync/003", "syncSandboxes 200")
@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES.keys())
def test_an_entry_that_cannot_be_used_is_skipped(
    fields: dict[str, Any], pool: Pool, provider: ProviderControl, metrics: Metrics
) -> None:
    """A sandbox without a usable id, csp_id or name is skipped and counted; such a list marks nothing stale."""
    [good, pattern] = provider.add(2)
    provider.remove(pattern["csp_id"])
    provider.put({name: value for name, value in (pattern | fields).items() if value is not MISSING})
    [missing] = pool.seed()
    with metrics.moves({CHANGED.format("skipped"): 1, CHANGED.format("stale"): 0}):
        assert synced(pool) == {"synced": 1, "marked_stale": 0}
    assert pool.statuses() == {str(good["csp_id"]): "available", missing: "available"}


@case("pool-sync/004", "syncSandboxes 200")
@pytest.mark.parametrize("twice", ["the whole entry", "its csp_id", "its id", "the id of a row"])
def test_a_collision_is_skipped(twice: str, pool: Pool, provider: ProviderControl, metrics: Metrics) -> None:
    """Of entries with one csp_id or one id the first counts, the others are skipped; a row keeps its id (003: sync)."""
    [good] = provider.add()
    if twice == "the whole entry":
        provider.put(good)
    elif twice == "its csp_id":
        provider.add(csp_id=good["csp_id"])
    elif twice == "its id":
        provider.add(id=good["id"])
    else:
        [kept] = pool.seed()
        provider.add(id=pool.row(kept)["external_id"])
    with metrics.moves({CHANGED.format("skipped"): 1}):
        assert synced(pool)["synced"] == 1
    assert pool.row(str(good["csp_id"]))["external_id"] == good["id"]
    assert set(pool.statuses().values()) == {"available"}


@case("pool-sync/005", "syncSandboxes 200")
def test_what_is_no_longer_listed_is_stale_until_it_is_listed_again(
    pool: Pool, provider: ProviderControl, metrics: Metrics
) -> None:
    """A sandbox that is missing from the list is stale and is not given out; listed again it is available (003)."""
    accounts = provider.add(3)
    synced(pool)
    lost = accounts[1]
    provider.remove(lost["csp_id"])
    with metrics.moves({CHANGED.format("stale"): 1}):
        assert synced(pool) == {"synced": 2, "marked_stale": 1}
    assert pool.status(str(lost["csp_id"])) == "stale"
    assert [student.allocate().status for student in pool.students(3)] == [201, 201, 409]
    provider.put(lost)
    with metrics.moves({CHANGED.format("revived"): 1}):
        assert synced(pool)["marked_stale"] == 0
    assert pool.student().has()["sandbox_id"] == str(lost["csp_id"])


@case("pool-sync/006", "syncSandboxes 200")
def test_what_is_renamed_at_the_provider_is_renamed_here(
    pool: Pool, provider: ProviderControl, metrics: Metrics
) -> None:
    """The name of an available sandbox follows the list; one that is allocated keeps its own (003: sync)."""
    accounts = provider.add(2)
    synced(pool)
    held = pool.student().has()["sandbox_id"]
    for account in accounts:
        provider.change(account["csp_id"], name="renamed")
    with metrics.moves({CHANGED.format("changed"): 1}):
        synced(pool)
    names = {row["sandbox_id"]: row["name"] for row in pool.system.db.rows("select * from sandboxes")}
    assert names.pop(held) != "renamed"
    assert list(names.values()) == ["renamed"]
    with metrics.moves({CHANGED.format("changed"): 0}):
        synced(pool)


@case("pool-sync/007", "syncSandboxes 200")
def test_what_was_given_out_never_comes_back(pool: Pool, provider: ProviderControl, db: Database) -> None:
    """A sandbox that was allocated once is never available again, in whatever state the list finds it (003: once)."""
    accounts = provider.add(6)
    synced(pool)
    ids = [student.has()["sandbox_id"] for student in pool.students(6)]
    states = ["allocated", "allocated", "pending_deletion", "deleting", "deletion_failed", "deleted"]
    for sandbox_id, state in zip(ids, states, strict=True):
        pool.put(sandbox_id, state)
    before = db.rows("select * from sandboxes order by sandbox_id")
    assert synced(pool) == {"synced": 6, "marked_stale": 0}
    assert db.rows("select * from sandboxes order by sandbox_id") == before
    provider.remove(*(account["csp_id"] for account in accounts))
    synced(pool)
    assert db.rows("select * from sandboxes order by sandbox_id") == before
    assert pool.student().allocate().status == 409


@case("pool-sync/008", "syncSandboxes 200")
def test_what_came_after_the_list_was_asked_for_is_not_stale(pool: Pool, provider: ProviderControl) -> None:
    """A sandbox that became available while the list was on its way is not missing from it (sandboxes.md)."""
    provider.add()
    provider.script("list", [{"delay_s": 0.5}])
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(synced, pool)
        provider.calls("list", wait_s=5)
        [late] = pool.seed()
        assert running.result() == {"synced": 1, "marked_stale": 0}
    assert pool.status(late) == "available"
    assert synced(pool) == {"synced": 1, "marked_stale": 1}


@case("pool-sync/009", "syncSandboxes 200", "allocateSandbox 201")
def test_a_sync_locks_no_row_that_it_does_not_change(pool: Pool, provider: ProviderControl, system: System) -> None:
    """While a sync waits for one row, every other sandbox that it has listed can be given out (sandboxes.md)."""
    accounts = provider.add(20)
    synced(pool)
    [*_, held] = sorted(str(one["csp_id"]) for one in accounts)
    provider.change(int(held), name="renamed")
    [new] = provider.add()
    # An insert of this id waits for the transaction that has begun to.
    with ThreadPoolExecutor(1) as threads:
        with unfinished(system, BEGUN, str(new["csp_id"]), new["id"]) as wait_for:
            running = threads.submit(synced, pool)
            wait_for(1)
            answers = at_once([student.allocate for student in pool.students(20)])
            assert [answer.status for answer in answers] == [201] * 20
        assert running.result()["synced"] == 21
    assert pool.status(str(new["csp_id"])) == "available"


@case("pool-sync/010", "syncSandboxes 200")
def test_a_large_list_is_applied_in_batches(pool: Pool, provider: ProviderControl) -> None:
    """A list of 1,000 sandboxes is applied whole, and again without a change (003: sync)."""
    provider.add(1000)
    assert synced(pool) == {"synced": 1000, "marked_stale": 0}
    assert pool.system.db.value("select count(*) from sandboxes where status = 'available'") == 1000
    since = pool.system.db.value("select max(xmin::text::bigint) from sandboxes")
    assert synced(pool) == {"synced": 1000, "marked_stale": 0}
    assert pool.system.db.value("select max(xmin::text::bigint) from sandboxes") == since, "no row is written again"


@case("pool-sync/011", "syncSandboxes 409")
def test_one_sync_at_a_time(pool: Pool, provider: ProviderControl, system: System) -> None:
    """While a sync runs another is refused with 409 sync_running, in whatever process; afterwards it is not."""
    provider.add()
    provider.script("list", [{"delay_s": 0.8}])
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(synced, pool)
        provider.calls("list", wait_s=5)
        for answer in (pool.sync(), pool.sync()):
            refused(answer, 409, "sync_running")
        assert running.result()["synced"] == 1
    assert len(provider.calls("list")) == 1
    assert synced(pool)["synced"] == 1
    assert system.db.value("select count(*) from sync_runs") == 2


@case("pool-sync/012", "syncSandboxes 409")
def test_an_older_list_changes_nothing(pool: Pool, provider: ProviderControl, system: System, logs: Logs) -> None:
    """Of two syncs the one that began later counts: an older list that comes last ends superseded (sandboxes.md)."""
    [first] = provider.add()
    old = provider.accounts()
    provider.script("list", [{"delay_s": 0.7, **listing(old)}])
    with ThreadPoolExecutor(1) as threads:
        older = threads.submit(pool.sync)
        provider.calls("list", wait_s=5)
        # As if the process had stood still for longer than its lease.
        pool.write("update job_runs set lease_until = now() where job = 'sync'")
        [second] = provider.add()
        provider.remove(first["csp_id"])
        assert synced(pool)["synced"] == 1
        refused(older.result(), 409, "sync_running")
    assert pool.statuses() == {str(second["csp_id"]): "available"}
    logs.wait("sandboxes.job.finished", job="sync", outcome="superseded")
    assert system.db.value("select count(*) from sync_runs where outcome = 'superseded'") == 1


@case("pool-sync/021", "syncSandboxes 200", "allocateSandbox 201")
@pytest.mark.parametrize("listed", ["no longer", "renamed", "for the first time"])
def test_a_sync_takes_nothing_from_a_student(
    listed: str, pool: Pool, provider: ProviderControl, system: System
) -> None:
    """What was given out after a sync has read the pool, and before it writes, is the student's: nothing of it changes.

    The list may lack it, have another name for it, or have brought it by another sync (003: concurrent sync).
    """
    account = provider.add()[0]
    if listed != "for the first time":
        accepted(pool.sync())
    if listed == "renamed":
        provider.change(account["csp_id"], name="renamed")
    elif listed == "no longer":
        provider.remove(account["csp_id"])
        provider.add()
    with ThreadPoolExecutor(1) as threads:
        with unfinished(system, ONE_AT_A_TIME) as wait_for:
            running = threads.submit(pool.sync)
            wait_for(1)
            if listed == "for the first time":
                pool.seed_listed([account])
            given = pool.student().has()["sandbox_id"]
            before = pool.row(given)
        assert accepted(running.result())["marked_stale"] == 0
    assert given == str(account["csp_id"])
    assert pool.row(given) == before
