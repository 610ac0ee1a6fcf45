"""Every answer of the provider, the bounds of a call, and what never leaves it: the token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from support.database import settings_for
from support.provider import TOKEN, FakeProvider, entry, uuid

from nexmdm.sandboxes import provider as provider_module
from nexmdm.sandboxes.provider import ListUnreadable, Provider, ProviderError


@pytest.fixture
async def client(provider: FakeProvider) -> AsyncIterator[Provider]:
    settings = settings_for(
        "postgresql://unused", provider_url=provider.url, provider_token=TOKEN, provider_timeout_s=1
    )
    async with aclosing(Provider(settings)) as made:
        yield made


async def test_the_list_is_asked_for_with_the_token(client: Provider, provider: FakeProvider) -> None:
    provider.entries = [entry(1), entry(2)]
    found = await client.accounts()
    assert [(a.sandbox_id, a.external_id, a.name) for a in found.listed] == [
        ("1", f"identity/accounts/{uuid(1)}", "lab 1"),
        ("2", f"identity/accounts/{uuid(2)}", "lab 2"),
    ]
    assert found.skipped == 0
    assert provider.requests[0].startswith("GET /api/current_user/accounts HTTP/1.1\r\n")
    assert f"\r\nauthorization: token {TOKEN}\r\n" in provider.requests[0].lower()


@pytest.mark.parametrize(
    "other",
    [{"account_type": "customer"}, {"state": "inactive"}, {"account_type": "customer", "csp_id": ..., "id": 7}],
    ids=str,
)
async def test_other_accounts_are_passed_over_whatever_they_lack(
    client: Provider, provider: FakeProvider, other: dict[str, Any]
) -> None:
    provider.entries = [entry(1), entry(2, **other), {}]
    found = await client.accounts()
    assert ([a.sandbox_id for a in found.listed], found.skipped) == (["1"], 0)


@pytest.mark.parametrize(
    "fault",
    [
        {"csp_id": ...},
        {"csp_id": "2"},
        {"csp_id": 2.5},
        {"csp_id": True},
        {"csp_id": 0},
        {"csp_id": 2**63},
        {"csp_id": 1},  # as the first
        {"id": ...},
        {"id": uuid(2)},
        {"id": f"identity/users/{uuid(2)}"},
        {"id": "identity/accounts/../2"},
        {"id": f"identity/accounts/{uuid(1)}"},  # as the first
        {"name": ...},
        {"name": None},
        {"name": "a\x00b"},
        {"name": "x" * 256},
        {"state": ...},
    ],
    ids=str,
)
async def test_an_entry_that_cannot_be_used_is_counted(
    client: Provider, provider: FakeProvider, fault: dict[str, Any]
) -> None:
    provider.entries = [entry(1), entry(2, **fault), entry(3)]
    found = await client.accounts()
    assert ([a.sandbox_id for a in found.listed], found.skipped) == (["1", "3"], 1)


async def test_an_entry_that_is_no_object_is_counted(client: Provider, provider: FakeProvider) -> None:
    provider.body = b'{"results": [7, null, "x"]}'
    assert (await client.accounts()).skipped == 3


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b"{}", b'{"results": {}}', b'{"results": [', b"\xff", b"null"])
async def test_success_without_a_list_is_unreadable(client: Provider, provider: FakeProvider, body: bytes) -> None:
    provider.body = body
    with pytest.raises(ListUnreadable) as raised:
        await client.accounts()
    assert raised.value.status == 200


async def test_more_than_the_most_is_not_read(
    client: Provider, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_module, "_MOST_BYTES", 1000)
    provider.body = b" " * 1001
    with pytest.raises(ListUnreadable, match="32 MiB"):
        await client.accounts()


@pytest.mark.parametrize("status", [302, 401, 403, 404, 429, 500, 503])
async def test_a_refusal_keeps_its_status_and_no_redirect_is_followed(
    client: Provider, provider: FakeProvider, status: int
) -> None:
    provider.status, provider.headers = status, f"location: {provider.url}/elsewhere\r\n"
    with pytest.raises(ProviderError, match=f"^HTTP {status}$") as raised:
        await client.accounts()
    assert raised.value.status == status
    assert len(provider.requests) == 1


async def test_no_whole_answer_in_time_is_a_failure_without_a_status(client: Provider, provider: FakeProvider) -> None:
    provider.entries = [entry(number) for number in range(1, 20)]
    reasons = []
    for fault in ({"drop": True}, {"cut": True}, {"drip_s": 0.05}, {"hold": asyncio.Event()}):
        for name, value in {"drop": False, "cut": False, "drip_s": 0.0, "hold": None, **fault}.items():
            setattr(provider, name, value)
        with pytest.raises(ProviderError) as raised:
            await client.accounts()
        assert raised.value.status is None
        reasons.append(str(raised.value))
    assert reasons == ["RemoteProtocolError", "RemoteProtocolError", "no answer in time", "no answer in time"]


@pytest.mark.parametrize(
    "status,outcome",
    [
        (200, "gone"),
        (204, "gone"),
        (404, "gone"),
        (401, "refused"),
        (403, "refused"),
        (429, "rate_limited"),
        (409, "failed"),
        (302, "failed"),
        (500, "failed"),
        (503, "failed"),
    ],
)
async def test_a_deletion_is_judged_by_its_status(
    client: Provider, provider: FakeProvider, status: int, outcome: str
) -> None:
    provider.status = status
    done = await client.delete(f"identity/accounts/{uuid(7)}")
    assert (done.outcome, done.status, done.reason, done.retry_after_s) == (outcome, status, f"HTTP {status}", 0)
    assert provider.requests[0].startswith(f"DELETE /api/sandbox/accounts/{uuid(7)} HTTP/1.1\r\n")


async def test_the_pause_of_a_429_is_kept(client: Provider, provider: FakeProvider) -> None:
    provider.status, provider.headers = 429, "retry-after: 7\r\n"
    assert (await client.delete("x")).retry_after_s == 7


@pytest.mark.parametrize("fault,reason", [("drop", "RemoteProtocolError"), ("hold", "no answer in time")])
async def test_a_deletion_without_an_answer_has_failed(
    client: Provider, provider: FakeProvider, fault: str, reason: str
) -> None:
    setattr(provider, fault, True if fault == "drop" else asyncio.Event())
    done = await client.delete("x")
    assert (done.outcome, done.status, done.reason) == ("failed", None, reason)


async def test_a_provider_that_is_not_there_has_failed(provider: FakeProvider) -> None:
    settings = settings_for("postgresql://unused", provider_url="http://127.0.0.1:1", provider_token=TOKEN)
    async with aclosing(Provider(settings)) as client:
        assert (await client.delete("x")).reason == "ConnectError"


async def test_an_odd_external_id_stays_one_segment(client: Provider, provider: FakeProvider) -> None:
    await client.delete("identity/accounts/a?b#c d")
    assert provider.requests[0].startswith("DELETE /api/sandbox/accounts/a%3Fb%23c%20d HTTP/1.1\r\n")
