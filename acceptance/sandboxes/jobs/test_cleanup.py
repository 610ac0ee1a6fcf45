"""Cleanup: what is deleted at the provider, how often it is tried, and what an answer counts for."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from acceptance.sandboxes.pool import Pool
from acceptance.suite.case import case
from acceptance.system.logs import Logs
from acceptance.system.match import accepted
from acceptance.system.metrics import Metrics
from acceptance.system.system import System
from harness.provider.server import SILENT, ProviderControl
from harness.waiting import eventually

OUTCOME = 'nexmdm_sandboxes_deletions_total{{outcome="{}"}}'
DELAY = "select extract(epoch from next_attempt_at - status_since)::float from sandboxes where sandbox_id = %s"
ATTEMPTS = "update sandboxes set delete_attempts = %(attempts)s where sandbox_id = %(sandbox_id)s"


def last_segment(account: dict[str, Any]) -> str:
    return str(account["id"]).rpartition("/")[2]


@case("cleanup/001", "cleanUpSandboxes 200")
@pytest.mark.parametrize("status", [200, 204, 404])
def test_what_was_released_is_deleted_once(
    status: int, pool: Pool, provider: ProviderControl, logs: Logs, metrics: Metrics
) -> None:
    """A released sandbox is deleted at the provider, by the last part of its id; 200, 204, 404 mean gone (003)."""
    [account] = provider.add()
    [gone] = pool.released([account])
    provider.script("delete", [{"status": status, "effect": True}])
    with metrics.moves({OUTCOME.format("deleted"): 1}):
        answer = pool.cleanup()
    body = accepted(answer)
    assert (body["status"], body["deleted"], body["failed"], body["remaining"]) == ("completed", 1, 0, 0)
    logs.expect(answer, "sandboxes.deleted", sandbox_id=gone)
    logs.expect(answer, "sandboxes.job.finished", job="cleanup")
    row = pool.row(gone)
    assert (row["status"], row["deleted_at"] is None, row["lease_id"]) == ("deleted", False, None)
    [call] = provider.calls()
    assert (call["operation"], call["id"], call["authorized"]) == ("delete", last_segment(account), True)
    assert accepted(pool.cleanup())["deleted"] == 0
    assert len(provider.calls()) == 1
    assert provider.accounts() == []


@case("cleanup/002", "cleanUpSandboxes 200")
def test_only_what_waits_for_its_deletion_is_deleted(pool: Pool, provider: ProviderControl) -> None:
    """No DELETE is sent for a sandbox that is available, allocated, stale, failed, deleted or not yet due (003)."""
    states = ["available", "allocated", "stale", "deletion_failed", "deleted", "deleting", "pending_deletion"]
    ids = dict(zip(states, pool.seed_listed(provider.add(len(states))), strict=True))
    for state, sandbox_id in ids.items():
        pool.put(sandbox_id, state)
    pool.write("update sandboxes set next_attempt_at = now() + interval '1 minute' where status = 'pending_deletion'")
    before = pool.statuses()
    assert accepted(pool.cleanup())["deleted"] == 0
    assert provider.calls() == []
    assert pool.statuses() == before
    pool.due()
    assert accepted(pool.cleanup())["deleted"] == 1
    assert pool.status(ids["pending_deletion"]) == "deleted"


FAILURES: dict[str, dict[str, Any]] = {
    "409": {"status": 409},
    "400": {"status": 400},
    "302": {"status": 302, "location": "http://127.0.0.1:9/"},
    "500": {"status": 500},
    "502": {"status": 502},
    "503": {"status": 503},
    "500 with HTML in JSON": {"status": 500, "body": b'{"error": "<html>"}', "content_type": "application/json"},
    "dropped": {"drop": True},
    "slow": {"delay_s": 1.5, "effect": False},
    "silent": SILENT,
}


@case("cleanup/003", "cleanUpSandboxes 200")
@pytest.mark.parametrize("answer", FAILURES.values(), ids=FAILURES.keys())
def test_a_deletion_that_fails_is_tried_again_later(
    answer: dict[str, Any], pool: Pool, provider: ProviderControl, logs: Logs, metrics: Metrics
) -> None:
    """A failed DELETE counts an attempt and waits a minute; the sandbox stays with its track (003: cleanup)."""
    [account] = provider.add()
    [kept] = pool.released([account])
    provider.script("delete", [answer])
    with metrics.moves({OUTCOME.format("failed"): 1}):
        told = pool.cleanup()
    assert (accepted(told)["deleted"], accepted(told)["failed"]) == (0, 1)
    logs.expect(told, "sandboxes.deletion.retry", sandbox_id=kept, attempts=1, retry_in_s=60)
    row = pool.row(kept)
    assert (row["status"], row["delete_attempts"], row["lease_id"]) == ("pending_deletion", 1, None)
    assert row["last_error"]
    assert pool.system.db.value(DELAY, kept) == pytest.approx(60, abs=1)
    assert len(provider.calls()) == 1
    provider.script("delete", [])
    pool.due()
    assert accepted(pool.cleanup())["deleted"] == 1
    assert pool.status(kept) == "deleted"


@case("cleanup/004", "cleanUpSandboxes 200")
@pytest.mark.parametrize("attempts,pause_s", [(1, 120), (3, 480), (5, 1920), (6, 3600)])
def test_the_pause_doubles_up_to_an_hour(attempts: int, pause_s: int, pool: Pool, provider: ProviderControl) -> None:
    """After each failure the next attempt is twice as far away, an hour at most (sandboxes.md: backoff)."""
    [kept] = pool.released(provider.add())
    pool.write(ATTEMPTS, attempts=attempts, sandbox_id=kept)
    provider.script("delete", [{"status": 409}])
    accepted(pool.cleanup())
    assert pool.system.db.value(DELAY, kept) == pytest.approx(pause_s, abs=1)


@case("cleanup/005", "cleanUpSandboxes 200")
def test_after_eight_attempts_a_deletion_has_failed(
    pool: Pool, provider: ProviderControl, logs: Logs, metrics: Metrics
) -> None:
    """The eighth failed attempt is the last: deletion_failed, an error line, no further call (003: deletion_failed)."""
    [kept] = pool.released(provider.add())
    provider.script("delete", [{"status": 409, "times": 0}])
    with metrics.moves({OUTCOME.format("failed"): 7, OUTCOME.format("gave_up"): 1}):
        for _ in range(7):
            accepted(pool.cleanup())
            pool.due()
        told = pool.cleanup()
    assert logs.expect(told, "sandboxes.deletion.failed", sandbox_id=kept, attempts=8)["level"] == "ERROR"
    row = pool.row(kept)
    assert (row["status"], row["delete_attempts"], row["next_attempt_at"]) == ("deletion_failed", 8, None)
    assert accepted(pool.cleanup())["failed"] == 0
    assert len(provider.calls()) == 8


@case("cleanup/006", "cleanUpSandboxes 200")
@pytest.mark.parametrize("status,outcome", [(401, "refused"), (403, "refused"), (429, "rate_limited")])
def test_a_refusal_of_the_service_counts_no_attempt(
    status: int, outcome: str, pool: Pool, provider: ProviderControl, metrics: Metrics
) -> None:
    """401, 403 and 429 say nothing about the sandbox: it waits, and no attempt is counted (sandboxes.md)."""
    [kept] = pool.released(provider.add())
    pool.write(ATTEMPTS, attempts=7, sandbox_id=kept)
    provider.script("delete", [{"status": status}])
    with metrics.moves({OUTCOME.format(outcome): 1}):
        accepted(pool.cleanup())
    row = pool.row(kept)
    assert (row["status"], row["delete_attempts"]) == ("pending_deletion", 7)
    assert row["next_attempt_at"] > row["status_since"]


@case("cleanup/007", "cleanUpSandboxes 200")
def test_a_429_pauses_all_deletions(pool: Pool, provider: ProviderControl, system: System) -> None:
    """After a 429 nothing is deleted until its Retry-After is over, in no process; then all goes on (sandboxes.md)."""
    pool.released(provider.add(1))
    provider.script("delete", [{"status": 429, "retry_after": 100}])
    accepted(pool.cleanup())
    left = "select extract(epoch from paused_until - now())::float from breaker"
    assert system.db.value(left) == pytest.approx(100, abs=3)
    pool.released(provider.add(3))
    pool.due()
    for _ in range(2):
        body = accepted(pool.cleanup())
        assert (body["deleted"], body["failed"], body["remaining"]) == (0, 0, 4)
    assert len(provider.calls("delete")) == 1
    pool.write("update breaker set paused_until = now()")
    assert accepted(pool.cleanup())["deleted"] == 4


@case("cleanup/008", "cleanUpSandboxes 200")
def test_a_lease_that_was_lost_counts_nothing(
    pool: Pool, provider: ProviderControl, system: System, metrics: Metrics
) -> None:
    """An answer that comes when the row is another's by now changes nothing, and counts no attempt (sandboxes.md)."""
    [kept] = pool.released(provider.add())
    for status in (204, 409):
        pool.put(kept, "pending_deletion")
        provider.script("delete", [{"status": status, "delay_s": 0.6}])
        after = max((call["seq"] for call in provider.calls()), default=0)
        with metrics.moves({OUTCOME.format("lost"): 1, OUTCOME.format("deleted"): 0}), ThreadPoolExecutor(1) as threads:
            running = threads.submit(pool.cleanup)
            provider.calls("delete", after=after, wait_s=5)
            pool.write("update sandboxes set lease_id = gen_random_uuid(), lease_until = now() + interval '1 hour'")
            before = system.db.rows("select * from sandboxes")
            accepted(running.result())
        assert system.db.rows("select * from sandboxes") == before
        assert (pool.status(kept), pool.row(kept)["delete_attempts"]) == ("deleting", 0)


@case("cleanup/009", "cleanUpSandboxes 200")
def test_the_deletion_of_a_process_that_died_is_done_again(pool: Pool, provider: ProviderControl) -> None:
    """A sandbox whose lease ran out is deleted again; one whose lease is good is left alone (sandboxes.md: leases)."""
    dead, alive = pool.released(provider.add(2))
    for sandbox_id in (dead, alive):
        pool.put(sandbox_id, "deleting")
    pool.write("update sandboxes set lease_until = now() where sandbox_id = %(sandbox_id)s", sandbox_id=dead)
    assert accepted(pool.cleanup())["deleted"] == 1
    assert pool.statuses() == {dead: "deleted", alive: "deleting"}
    assert [call["csp_id"] for call in provider.calls()] == [int(dead)]


@case("cleanup/010", "cleanUpSandboxes 200")
def test_a_deletion_whose_answer_was_lost_is_found_done(pool: Pool, provider: ProviderControl) -> None:
    """Where the connection ends after the effect the next attempt finds 404: the sandbox is deleted (003: CSP)."""
    [gone] = pool.released(provider.add())
    provider.script("delete", [{"drop": True, "effect": True}])
    accepted(pool.cleanup())
    assert pool.status(gone) == "pending_deletion"
    pool.due()
    assert accepted(pool.cleanup())["deleted"] == 1
    assert [call["status"] for call in provider.calls()] == [0, 404]


@case("cleanup/011", "cleanUpSandboxes 200", "syncSandboxes 200")
def test_what_is_deleted_and_still_listed_stays_deleted(
    pool: Pool, provider: ProviderControl, metrics: Metrics
) -> None:
    """A sandbox that the provider still lists after its deletion is never given out again; a gauge shows it."""
    [gone] = pool.released(provider.add())
    provider.script("delete", [{"status": 204, "effect": False}])
    accepted(pool.cleanup())
    assert [one["csp_id"] for one in provider.accounts()] == [int(gone)]
    accepted(pool.sync())
    assert pool.status(gone) == "deleted"
    assert pool.student().allocate().status == 409
    eventually(lambda: metrics.total("nexmdm_sandboxes_still_listed") == 1, within_s=20.0)


@case("cleanup/012", "cleanUpSandboxes 200")
def test_what_is_claimed_is_what_is_called(pool: Pool, provider: ProviderControl, system: System) -> None:
    """Four deletions go on at once, and no more rows are claimed than are called at that moment (sandboxes.md)."""
    pool.released(provider.add(12))
    provider.script("delete", [{"delay_s": 0.3, "times": 0}])
    claimed = []
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(pool.cleanup)
        while not running.done():
            claimed.append(system.db.value("select count(*) from sandboxes where status = 'deleting'"))
        assert accepted(running.result())["deleted"] == 12
    assert max(claimed) == 4
    calls = provider.calls("delete")
    overlapping = [sum(one["at"] <= call["at"] < one["ended_at"] for one in calls) for call in calls]
    assert max(overlapping) == 4
    assert len({call["id"] for call in calls}) == len(calls) == 12


@case("cleanup/013", "cleanUpSandboxes 200", slow="takes the 20 seconds that a request has")
def test_a_request_takes_no_more_after_twenty_seconds(pool: Pool, provider: ProviderControl) -> None:
    """A cleanup at an admin's command claims nothing after 20 s, finishes its calls, and says what remains."""
    pool.seed_listed(provider.add(200))
    pool.write("update sandboxes set status = 'pending_deletion', first_allocated_at = now(), next_attempt_at = now()")
    provider.script("delete", [{"status": 204, "delay_s": 0.6, "times": 0}])
    answer = pool.cleanup()
    body = accepted(answer)
    assert 20_000 <= answer.elapsed_ms < 26_000
    assert body["remaining"] > 0
    assert body["deleted"] + body["remaining"] == 200
    assert len(provider.calls("delete")) == body["deleted"]
    assert set(pool.statuses().values()) == {"deleted", "pending_deletion"}
