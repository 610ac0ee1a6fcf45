"""Sync refused: lists that are none or not plausible, a provider that refuses or fails. No row changes."""

from typing import Any

import pytest

from acceptance.sandboxes.pool import Pool, listing
from acceptance.suite.case import case
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.metrics import Metrics
from acceptance.system.system import System
from harness.provider.server import SILENT, ProviderControl

JSON = {"content_type": "application/json"}
NO_LISTS: dict[str, dict[str, Any]] = {
    "an empty object": listing({}),
    "an array": {"body": b"[]", **JSON},
    "null": {"body": b"null", **JSON},
    "results null": listing({"results": None}),
    "results an object": listing({"results": {}}),
    "HTML": {"body": b"<html><body>Sign in</body></html>"},
    "HTML in JSON": listing({"error": "<html>"}),
    "cut off": {"body": b'{"results": [', **JSON},
    "nothing": {"body": b"", **JSON},
    "not UTF-8": {"body": b'{"results": "\xff"}', **JSON},
    "deep": {"body": b'{"results": ' + b"[" * 100_000, **JSON},
    "a list without entries": listing([]),
}


@case("pool-sync/013", "syncSandboxes 502")
@pytest.mark.parametrize("answer", NO_LISTS.values(), ids=NO_LISTS.keys())
def test_what_is_no_list_is_refused(
    answer: dict[str, Any], pool: Pool, provider: ProviderControl, system: System, metrics: Metrics, logs: Logs
) -> None:
    """A body without a `results` array, or an empty list while anything is available: 502, no sandbox is stale."""
    [kept] = pool.seed()
    provider.script("list", [answer])
    with metrics.moves({'nexmdm_sandboxes_sync_total{outcome="implausible"}': 1}):
        told = pool.sync()
    refused(told, 502, "sync_implausible")
    logs.expect(told, "sandboxes.job.finished", job="sync", outcome="implausible")
    assert pool.statuses() == {kept: "available"}
    assert system.db.value("select failures from breaker") == 0, "the provider has answered"
    provider.script("list", [answer])
    assert pool.sync(force=True).status == (200 if b'results": []' in answer["body"] else 502)


@case("pool-sync/014", "syncSandboxes 502", "syncSandboxes 200")
@pytest.mark.parametrize("size,lost,plausible", [(20, 5, True), (20, 6, False), (40, 8, True), (40, 9, False)])
def test_a_list_that_lacks_too_much_is_refused(
    size: int, lost: int, plausible: bool, pool: Pool, provider: ProviderControl
) -> None:
    """At most max(5, 20 %) may be stale after a sync; beyond it 502, and an admin may force it (sandboxes.md)."""
    accounts = provider.add(size)
    accepted(pool.sync())
    provider.remove(*(one["csp_id"] for one in accounts[:lost]))
    answer = pool.sync()
    if plausible:
        assert accepted(answer)["marked_stale"] == lost
    else:
        refused(answer, 502, "sync_implausible")
        assert set(pool.statuses().values()) == {"available"}
        assert accepted(pool.sync(force=True))["marked_stale"] == lost
    assert list(pool.statuses().values()).count("stale") == lost


@case("pool-sync/015", "syncSandboxes 502")
def test_a_list_that_shrinks_bit_by_bit_is_refused(pool: Pool, provider: ProviderControl) -> None:
    """What earlier syncs have marked counts too, so that a list cannot empty the pool in small steps (sandboxes.md)."""
    accounts = provider.add(20)
    accepted(pool.sync())
    provider.remove(*(one["csp_id"] for one in accounts[:4]))
    assert accepted(pool.sync())["marked_stale"] == 4
    provider.remove(*(one["csp_id"] for one in accounts[4:6]))
    refused(pool.sync(), 502, "sync_implausible")
    assert list(pool.statuses().values()).count("stale") == 4
    provider.put(*accounts[:4])
    assert accepted(pool.sync())["marked_stale"] == 2, "four have come back"


@case("pool-sync/016", "syncSandboxes 200")
def test_an_empty_list_of_an_empty_pool_is_plausible(pool: Pool, provider: ProviderControl) -> None:
    """Where nothing is available an empty list is no loss (sandboxes.md)."""
    [held] = pool.seed()
    assert pool.student().has()["sandbox_id"] == held
    assert accepted(pool.sync())["synced"] == 0
    assert len(provider.calls("list")) == 1


FAILURES: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "502": {"status": 502},
    "503": {"status": 503, "retry_after": 60},
    "500 with HTML in JSON": {"status": 500, "body": b'{"error": "<html>"}', **JSON},
    "slow": {"delay_s": 1.5},
    "silent": SILENT,
    "in drops": {"body": b'{"results": []}' + b" " * 60, "drip_s": 0.05},
    "cut off": {"body": b'{"results": []}', "cut": True, **JSON},
    "dropped": {"drop": True},
}
REFUSALS: dict[str, dict[str, Any]] = {
    "401": {"status": 401},
    "403": {"status": 403},
    "404": {"status": 404},
    "409": {"status": 409},
    "429": {"status": 429, "retry_after": 60},
    "302": {"status": 302, "location": "http://127.0.0.1:9/"},
}


@case("pool-sync/017", "syncSandboxes 502")
@pytest.mark.parametrize(
    "answer,outcome",
    [
        *(pytest.param(one, "failed", id=name) for name, one in FAILURES.items()),
        *(pytest.param(one, "refused", id=name) for name, one in REFUSALS.items()),
    ],
)
def test_a_provider_that_refuses_or_fails_changes_nothing(
    answer: dict[str, Any], outcome: str, pool: Pool, provider: ProviderControl, metrics: Metrics, logs: Logs
) -> None:
    """Whatever keeps the provider from listing is 502 provider_refused within its time; the pool stays (003: CSP)."""
    [kept] = pool.seed()
    provider.script("list", [answer])
    with metrics.moves({f'nexmdm_sandboxes_sync_total{{outcome="{outcome}"}}': 1}):
        told = pool.sync()
    refused(told, 502, "provider_refused")
    assert told.elapsed_ms < 5_000
    logs.expect(told, "dependency.unavailable", dependency="provider")
    assert pool.statuses() == {kept: "available"}
    failures = pool.system.db.value("select failures from breaker")
    assert failures == (1 if outcome == "failed" else 0)
    assert len(provider.calls("list")) == 1, "it is asked once, wherever it points"


@case("pool-sync/018", "syncSandboxes 502")
def test_a_provider_that_is_down_changes_nothing(pool: Pool, provider: ProviderControl) -> None:
    """A refused connection is 502 provider_refused and counts for the breaker; the next sync is as usual (003: CSP)."""
    [account] = provider.add()
    provider.down()
    try:
        refused(pool.sync(), 502, "provider_refused")
        assert pool.system.db.value("select failures from breaker") == 1
    finally:
        provider.up()
    assert accepted(pool.sync())["synced"] == 1
    assert pool.statuses() == {str(account["csp_id"]): "available"}
    assert pool.system.db.value("select failures from breaker") == 0


@case("pool-sync/019", "syncSandboxes 502")
def test_the_token_follows_no_redirect(pool: Pool, provider: ProviderControl, system: System) -> None:
    """A redirect is refused and not followed: the token of the provider would travel along (sandboxes.md)."""
    account = provider.add()[0]
    assert system.running.provider is not None
    provider.script("list", [{"status": 307, "location": f"{system.running.provider.url}/current_user/accounts"}])
    refused(pool.sync(), 502, "provider_refused")
    assert [call["status"] for call in provider.calls()] == [307]
    [given] = pool.released([account])
    provider.script("delete", [{"status": 307, "location": f"{system.running.provider.url}/sandbox/accounts/other"}])
    accepted(pool.cleanup())
    assert [call["status"] for call in provider.calls("delete")] == [307]
    assert pool.status(given) == "pending_deletion"


@case("pool-sync/020", "syncSandboxes 422")
@pytest.mark.parametrize("force", ["yes", "1", "", "TRUE"])
def test_force_is_true_or_false(force: str, pool: Pool, provider: ProviderControl) -> None:
    """`force` is true or false; anything else is 422 and the provider is not asked (api.md: validation)."""
    answer = pool.admin("POST", "/v1/admin/sync", params={"force": force})
    refused(answer, 422, "validation_error")
    assert provider.calls() == []
