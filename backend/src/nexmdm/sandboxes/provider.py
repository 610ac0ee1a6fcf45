"""The only module that knows the provider: its list of accounts, and the deletion of one. It decides no retry.

Answers that the specification of the provider does not know are data, not accidents: an entry that lacks something is
counted, a list that is none has its own exception.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import quote

import httpx
import orjson

from nexmdm.kernel.egress import transport_to
from nexmdm.kernel.retry_after import retry_after_s
from nexmdm.sandboxes.settings import SandboxSettings

_MOST_BYTES: Final = 32 * 2**20  # of a list
_EXTERNAL_ID: Final = re.compile(
    r"identity/accounts/[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
)
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
_GONE: Final = frozenset({200, 204, 404})


class ProviderError(Exception):
    """There is no list. The text says why and quotes nothing. `status`: None where no whole answer came in time."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class ListUnreadable(ProviderError):
    """The provider answered with success, and with no list of accounts."""


@dataclass(frozen=True, slots=True)
class Account:
    """An active sandbox account. `external_id` is what its deletion needs."""

    sandbox_id: str
    external_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Accounts:
    """The active sandbox accounts, and how many entries could not be used. The list is complete where none was."""

    listed: list[Account]
    skipped: int


@dataclass(frozen=True, slots=True)
class Deletion:
    """What became of a call to delete. `reason` says it in a word; `status` as in `ProviderError`.

    `retry_after_s` is 0 where the provider named no pause.
    """

    outcome: Literal["gone", "failed", "refused", "rate_limited"]
    reason: str
    status: int | None
    retry_after_s: float = 0.0


class Provider:
    """A client, for one event loop. Close it there."""

    def __init__(self, settings: SandboxSettings) -> None:
        if settings.provider_url is None or settings.provider_token is None:
            raise ValueError("no provider")
        self._url, self._timeout_s = settings.provider_url, settings.provider_timeout_s
        # Calls are rare and slow: a connection that is kept would only be found closed.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.AsyncClient(
            transport=transport_to(settings.provider_url, limits=limits),
            headers={
                "Authorization": f"Token {settings.provider_token.get_secret_value()}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            timeout=None,  # noqa: S113 - `_answer` bounds the whole
            follow_redirects=False,  # the token would travel along
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def accounts(self) -> Accounts:
        """The active sandbox accounts.

        Raises:
            ListUnreadable: success, but no object with a `results` array, or more than 32 MiB.
            ProviderError: refused, failed, or no whole answer in time.
        """
        async with self._answer("GET", "/current_user/accounts") as response:
            if not response.is_success:
                raise ProviderError(f"HTTP {response.status_code}", response.status_code)
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > _MOST_BYTES:
                    raise ListUnreadable("more than 32 MiB", response.status_code)
        return await asyncio.to_thread(_read, bytes(body), response.status_code)

    async def delete(self, external_id: str) -> Deletion:
        """Delete an account. Never raises for anything that the provider or the network does."""
        account = quote(external_id.rpartition("/")[2], safe="")
        try:
            async with self._answer("DELETE", f"/sandbox/accounts/{account}") as response:
                return _judge(response)
        except ProviderError as error:
            return Deletion("failed", str(error), None)

    @asynccontextmanager
    async def _answer(self, method: str, path: str) -> AsyncIterator[httpx.Response]:
        """The answer while its body is read, within the deadline of the whole call."""
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._http.stream(method, self._url + path) as response,
            ):
                yield response
        except ProviderError:
            raise
        except TimeoutError:
            raise ProviderError("no answer in time") from None
        except Exception as error:  # noqa: BLE001 - what httpx and those below it raise; the type alone, as texts quote
            raise ProviderError(type(error).__name__) from None


def _judge(response: httpx.Response) -> Deletion:
    status = response.status_code
    reason = f"HTTP {status}"
    if status in _GONE:
        return Deletion("gone", reason, status)
    if status == 429:
        pause_s = retry_after_s(response.headers.get("retry-after", ""), datetime.now(UTC))
        return Deletion("rate_limited", reason, status, pause_s)
    return Deletion("refused" if status in {401, 403} else "failed", reason, status)


def _read(body: bytes, status: int) -> Accounts:
    try:
        document = orjson.loads(body)
    except ValueError:
        raise ListUnreadable("not JSON", status) from None
    results = document.get("results") if isinstance(document, dict) else None
    if not isinstance(results, list):
        raise ListUnreadable("no object with results", status)
    listed, skipped, taken = list[Account](), 0, set[str]()
    for entry in results:
        if isinstance(entry, dict) and not _is_wanted(entry):
            continue
        account = _account(entry) if isinstance(entry, dict) else None
        if account is None or not taken.isdisjoint((account.sandbox_id, account.external_id)):
            skipped += 1
            continue
        taken.update((account.sandbox_id, account.external_id))  # the two never look alike
        listed.append(account)
    return Accounts(listed, skipped)


def _is_wanted(entry: dict[str, Any]) -> bool:
    """False for another kind of account, which may lack anything, and for a sandbox that is not active."""
    return entry.get("account_type") == "sandbox" and entry.get("state", "active") == "active"


def _account(entry: dict[str, Any]) -> Account | None:
    """The account of an entry of the documented shape; None for any other."""
    number, external_id, name = entry.get("csp_id"), entry.get("id"), entry.get("name")
    if type(number) is not int or not 0 < number < 2**63 or "state" not in entry:
        return None
    if not isinstance(external_id, str) or _EXTERNAL_ID.fullmatch(external_id) is None:
        return None
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        return None
    return Account(str(number), external_id, name)
