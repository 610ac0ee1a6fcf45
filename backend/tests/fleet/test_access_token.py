"""The access token: renewed in time, by one renewal for all, whatever the token endpoint does."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.auth.credentials import Credentials

from nexmdm.fleet import access_token
from nexmdm.fleet.access_token import AccessError, AccessToken


@dataclass
class Endpoint:
    """Grants t1, t2, ... that live for `life_s`; waits while `open` is clear, and raises `error`."""

    life_s: float = 3600.0
    error: Exception | None = None
    calls: int = 0
    open: threading.Event = field(default_factory=threading.Event)

    def grant(self) -> tuple[Any, datetime]:
        self.calls += 1
        assert self.open.wait(5)
        if self.error is not None:
            raise self.error
        return f"t{self.calls}", datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=self.life_s)


class Credential(Credentials):
    """A credential of google-auth with its own rules for stale and invalid."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # google-auth is half typed
        self.endpoint = endpoint

    def refresh(self, request: Any) -> None:  # noqa: ARG002 - as google-auth calls it
        self.token, self.expiry = self.endpoint.grant()


@pytest.fixture
def endpoint() -> Endpoint:
    made = Endpoint()
    made.open.set()
    return made


@pytest.fixture
def token(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> AccessToken:
    monkeypatch.setattr(access_token, "_AHEAD_PAUSE_S", 0.0)
    return AccessToken(Credential(endpoint), 1)


async def renewed(token: AccessToken) -> None:
    if token._renewal is not None:
        await token._renewal


async def test_one_renewal_serves_all_who_wait(token: AccessToken, endpoint: Endpoint) -> None:
    assert set(await asyncio.gather(*(token.current() for _ in range(20)))) == {"t1"}
    assert endpoint.calls == 1
    assert await token.current() == "t1"
    assert endpoint.calls == 1, "it is good for an hour"


async def test_a_stale_token_is_used_while_it_is_renewed(token: AccessToken, endpoint: Endpoint) -> None:
    endpoint.life_s = 224
    await token.current()
    endpoint.open.clear()
    async with asyncio.timeout(2):
        assert [await token.current() for _ in range(3)] == ["t1"] * 3
    endpoint.open.set()
    await renewed(token)
    assert endpoint.calls == 2
    assert await token.current() == "t2"
    await renewed(token)


async def test_a_token_that_is_always_stale_is_not_renewed_for_each_send(
    token: AccessToken, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_token, "_AHEAD_PAUSE_S", 60.0)
    endpoint.life_s = 3
    for _ in range(20):
        await token.current()
        await renewed(token)
    assert endpoint.calls == 1


async def test_an_expired_token_is_waited_for(token: AccessToken, endpoint: Endpoint) -> None:
    endpoint.life_s = -1
    assert [await token.current(), await token.current()] == ["t1", "t2"]


async def test_several_refusals_of_one_token_are_one_renewal(token: AccessToken, endpoint: Endpoint) -> None:
    first = await token.current()
    token.refused(first)
    assert await token.current() == "t2"
    token.refused(first)
    assert await token.current() == "t2"
    assert endpoint.calls == 2


async def test_who_gives_up_leaves_the_renewal_to_the_others(token: AccessToken, endpoint: Endpoint) -> None:
    endpoint.open.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await token.current()
    endpoint.open.set()
    assert await token.current() == "t1"
    assert endpoint.calls == 1


@pytest.mark.parametrize("error", [TypeError("secret"), ValueError(), OverflowError(), OSError()])
async def test_whatever_a_renewal_raises_is_one_error_without_its_text(
    token: AccessToken, endpoint: Endpoint, error: Exception
) -> None:
    endpoint.error = error
    with pytest.raises(AccessError, match=f"^{type(error).__name__}$"):
        await token.current()
    endpoint.error = None
    assert await token.current() == "t2"


async def test_a_failure_ahead_of_time_reaches_nobody(token: AccessToken, endpoint: Endpoint) -> None:
    endpoint.life_s = 10
    await token.current()
    endpoint.error = ValueError()
    assert await token.current() == "t1"
    await renewed(token)
    assert await token.current() == "t1"
    await renewed(token)
    assert endpoint.calls == 3


@pytest.mark.parametrize("value", ["", 7, None, "a\nb", "é", "a b"])
async def test_what_is_no_header_value_is_no_token(
    token: AccessToken, endpoint: Endpoint, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "grant", lambda: (value, None))
    with pytest.raises(AccessError):
        await token.current()
