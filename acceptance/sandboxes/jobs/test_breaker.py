"""The circuit breaker of the provider: when it opens, what it holds back, how one probe closes it."""

from collections.abc import Callable
from typing import Any

import pytest

from acceptance.sandboxes.pool import Pool
from acceptance.suite.case import case
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.metrics import Metrics
from acceptance.system.system import System
from acceptance.system.web_workers import race
from harness.http.client import Answer
from harness.provider.server import ProviderControl
from harness.waiting import eventually

STATE = "select failures, open_until > now() as open from breaker"
OPEN = {"failures": 5, "open": True}
OVER = "update breaker set open_until = now()"
DOWN: dict[str, dict[str, Any]] = {
    "500": {"status": 500, "times": 0},
    "503": {"status": 503, "times": 0},
    "dropped": {"drop": True, "times": 0},
}


def fail(pool: Pool, provider: ProviderControl, times: int, answer: dict[str, Any] | None = None) -> None:
    """So many syncs that the provider fails."""
    provider.script("list", [answer or {"status": 500, "times": 0}])
    for _ in range(times):
        refused(pool.sync(), 502, "provider_refused")
    provider.script("list", [])


@case("breaker/001", "syncSandboxes 503", "cleanUpSandboxes 503")
@pytest.mark.parametrize("answer", DOWN.values(), ids=DOWN.keys())
def test_five_failures_in_a_row_open_it(
    answer: dict[str, Any], pool: Pool, provider: ProviderControl, logs: Logs, metrics: Metrics, system: System
) -> None:
    """After five failures the provider is left alone for a minute: 503 circuit_open + Retry-After (003: breaker)."""
    ids = pool.released(provider.add(2))
    fail(pool, provider, 4, answer)
    assert system.db.row(STATE) == {"failures": 4, "open": None}
    fail(pool, provider, 1, answer)
    assert system.db.row(STATE) == OPEN
    logs.wait("sandboxes.breaker.opened", failures=5, open_s=60)
    asked = len(provider.calls())
    with metrics.moves({'nexmdm_sandboxes_sync_total{outcome="circuit_open"}': 1}):
        problem = pool.sync()
    for told in (problem, pool.cleanup()):
        refused(told, 503, "circuit_open")
        assert 50 <= int(told.headers["retry-after"]) <= 60
    assert len(provider.calls()) == asked
    assert set(pool.statuses().values()) == {"pending_deletion"}
    assert set(pool.statuses()) == set(ids)
    eventually(lambda: metrics.total("nexmdm_sandboxes_breaker_open") == 1, within_s=20.0)


@case("breaker/002", "cleanUpSandboxes 200")
def test_failed_deletions_open_it_too(pool: Pool, provider: ProviderControl, system: System) -> None:
    """Failures of DELETE count with those of the list; once it is open no further sandbox is claimed (003: breaker)."""
    pool.released(provider.add(12))
    fail(pool, provider, 1)
    provider.script("delete", [{"status": 502, "times": 0}])
    body = accepted(pool.cleanup())
    assert system.db.value("select open_until > now() from breaker")
    # Four are called at once: what had begun when the fourth failure came is finished.
    assert 4 <= body["failed"] <= 7
    assert body["failed"] + body["remaining"] == 12
    assert len(provider.calls("delete")) == body["failed"]
    assert set(pool.statuses().values()) == {"pending_deletion"}


@case("breaker/003", "syncSandboxes 502")
@pytest.mark.parametrize("status", [401, 404, 409, 429])
def test_a_4xx_neither_counts_nor_resets(status: int, pool: Pool, provider: ProviderControl, system: System) -> None:
    """A 4xx is an answer of a provider that works, and no proof that it does its job (sandboxes.md: breaker)."""
    fail(pool, provider, 4)
    fail(pool, provider, 3, {"status": status, "times": 0})
    assert system.db.row(STATE) == {"failures": 4, "open": None}
    fail(pool, provider, 1)
    assert system.db.row(STATE) == OPEN


@case("breaker/004", "syncSandboxes 200")
def test_a_success_begins_the_count_again(pool: Pool, provider: ProviderControl, system: System) -> None:
    """Five failures open it only in a row: a success between them begins the count again (003: breaker)."""
    fail(pool, provider, 4)
    accepted(pool.sync())
    fail(pool, provider, 4)
    assert system.db.row(STATE) == {"failures": 4, "open": None}
    [one] = pool.released(provider.add())
    assert accepted(pool.cleanup())["deleted"] == 1
    assert pool.status(one) == "deleted"
    assert system.db.row(STATE) == {"failures": 0, "open": None}


def opened(pool: Pool, provider: ProviderControl) -> None:
    """It was open, and its minute is over."""
    fail(pool, provider, 5)
    pool.write(OVER)


@case("breaker/005", "syncSandboxes 200", "syncSandboxes 502", "cleanUpSandboxes 200")
@pytest.mark.parametrize("probe", ["sync", "cleanup"])
def test_a_probe_that_succeeds_closes_it(
    probe: str, pool: Pool, provider: ProviderControl, system: System, logs: Logs
) -> None:
    """When the minute is over one call is let through: its success closes the breaker (003: half open)."""
    pool.released(provider.add(3))
    opened(pool, provider)
    accepted(pool.sync() if probe == "sync" else pool.cleanup())
    assert system.db.row(STATE) == {"failures": 0, "open": None}
    logs.wait("sandboxes.breaker.closed")
    pool.due()
    accepted(pool.cleanup())
    assert set(pool.statuses().values()) == {"deleted"}


@case("breaker/006", "syncSandboxes 502", "cleanUpSandboxes 200")
@pytest.mark.parametrize("probe", ["sync", "cleanup"])
def test_a_probe_that_fails_opens_it_again(probe: str, pool: Pool, provider: ProviderControl, system: System) -> None:
    """A failed probe leaves the provider alone for another minute, and counts no attempt of a deletion (003)."""
    [kept, *_] = pool.released(provider.add(3))
    opened(pool, provider)
    asked = len(provider.calls())
    if probe == "sync":
        fail(pool, provider, 1)
    else:
        provider.script("delete", [{"status": 500, "times": 0}])
        accepted(pool.cleanup())
        assert [row["delete_attempts"] for row in system.db.rows("select * from sandboxes")] == [0, 0, 0]
    assert len(provider.calls()) == asked + 1
    assert system.db.value("select extract(epoch from open_until - now())::float from breaker") > 50
    refused(pool.sync(), 503, "circuit_open")
    assert pool.status(kept) == "pending_deletion"


@case("breaker/007")
@pytest.mark.parametrize("job", ["sync", "cleanup"])
def test_of_many_exactly_one_is_the_probe(job: str, pool: Pool, provider: ProviderControl, system: System) -> None:
    """Of jobs in two processes that find the minute over, one calls the provider, and once (sandboxes.md: probe)."""
    pool.released(provider.add(6))
    opened(pool, provider)
    provider.script("list" if job == "sync" else "delete", [{"status": 500, "delay_s": 0.5, "times": 0}])
    asked = len(provider.calls())
    call: Callable[[], Answer] = pool.sync if job == "sync" else pool.cleanup
    answers = race(system, [call] * 8)
    assert len(provider.calls()) == asked + 1
    assert all(answer.status in (200, 409, 502, 503) for answer in answers)
    assert system.db.value("select open_until > now() from breaker")
