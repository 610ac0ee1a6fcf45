"""The web applications of the fake provider: its API below /v2, and its control.

It keeps the provider's manners (paths, token, shapes); what it lists is what the control has put into it.
"""

from __future__ import annotations

import asyncio
import hmac
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from harness.fakes.journal import Journal
from harness.fakes.scripts import FIELDS, Answer, common, take
from harness.fakes.wire import drop, foreign

BASE_PATH = "/v2"
OPERATIONS = ("list", "delete")
_ID_PREFIX = "identity/accounts/"
_FIRST_CSP_ID = 2_000_001
_BODY_LIMIT = 64 * 2**20


@dataclass
class Scripted(Answer):
    """One scripted answer. effect: whether a DELETE removes the account; None: if the answer says so."""

    effect: bool | None = None

    @classmethod
    def parse(cls, answer: Any) -> Scripted:
        """Check one entry of a script. ValueError names what is wrong with it."""
        values = common(answer, FIELDS | {"effect"})
        return cls(**values, effect=answer.get("effect"))

    @property
    def takes_effect(self) -> bool:
        """Whether a DELETE that is answered so removes the account."""
        return self.status in (200, 202, 204) and not self.drop if self.effect is None else self.effect


@dataclass
class FakeProvider:
    """State and handlers. token: the one that is let in."""

    token: str
    accounts: list[dict[str, Any]] = field(default_factory=list)
    calls: Journal = field(default_factory=Journal)
    scripts: dict[tuple[str, str | None], list[Scripted]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self._next_csp_id = _FIRST_CSP_ID

    def api(self) -> web.Application:
        """What the backend speaks to."""
        app = web.Application()
        app.router.add_get(f"{BASE_PATH}/current_user/accounts", self.list_accounts)
        app.router.add_delete(f"{BASE_PATH}/sandbox/accounts/{{id}}", self.delete_account)
        return app

    def control(self, switch: Callable[[bool], Awaitable[None]]) -> web.Application:
        """What a suite speaks to. switch: takes the API off the network, or puts it back."""

        async def power(request: web.Request) -> web.Response:
            await switch(bool((await request.json())["on"]))
            return web.json_response({})

        app = web.Application(client_max_size=_BODY_LIMIT)
        app.router.add_post("/add", self.add)
        app.router.add_post("/put", self.put)
        app.router.add_post("/change", self.change)
        app.router.add_post("/remove", self.remove)
        app.router.add_get("/accounts", self.read_accounts)
        app.router.add_post("/script", self.script)
        app.router.add_get("/calls", self.read_calls)
        app.router.add_post("/power", power)
        app.router.add_post("/reset", self.reset)
        return app

    # --- the API -----------------------------------------------------------------------------------------------------

    async def list_accounts(self, request: web.Request) -> web.StreamResponse:
        """All accounts, in the order in which they came."""
        return await self._answer(request, "list", None)

    async def delete_account(self, request: web.Request) -> web.StreamResponse:
        """Remove an account: 204, or 404 where there is none."""
        return await self._answer(request, "delete", request.match_info["id"])

    async def _answer(self, request: web.Request, operation: str, account: str | None) -> web.StreamResponse:
        authorization = request.headers.get("Authorization", "")
        known = hmac.compare_digest(authorization.encode(errors="replace"), f"Token {self.token}".encode())
        found = self._find(account)
        call = self._enter(operation, account, None if found is None else found.get("csp_id"), authorized=known)
        try:
            if not known:
                return self._say(call, 401, "Unauthorized")
            scripted = self._scripted(operation, account)
            if scripted is None:
                return self._usual(call, account)
            await asyncio.sleep(scripted.delay_s)
            call["status"] = scripted.status
            if account is not None and scripted.takes_effect:
                call["effect"] = self._delete(account)
            if scripted.drop:
                return drop(request)
            if scripted.body is not None:
                return await foreign(request, scripted)
            if scripted.status == 200 and operation == "list":
                return web.json_response({"results": self.accounts}, headers=scripted.headers)
            return self._say(call, scripted.status, "scripted", scripted.headers)
        finally:
            call["ended_at"] = time.time()

    def _scripted(self, operation: str, account: str | None) -> Scripted | None:
        own = None if account is None else take(self.scripts[operation, account])
        return own or take(self.scripts[operation, None])

    def _usual(self, call: dict[str, Any], account: str | None) -> web.Response:
        if account is None:
            call["status"] = 200
            return web.json_response({"results": self.accounts})
        call["effect"] = self._delete(account)
        return self._say(call, 204, "") if call["effect"] else self._say(call, 404, "Not Found")

    def _say(
        self, call: dict[str, Any], status: int, message: str, headers: dict[str, str] | None = None
    ) -> web.Response:
        call["status"] = status
        if status in (204, 304):
            return web.Response(status=status, headers=headers)
        return web.json_response({"error": [{"message": message}]}, status=status, headers=headers)

    def _enter(self, operation: str, account: str | None, csp_id: Any, *, authorized: bool) -> dict[str, Any]:
        return self.calls.add(
            {
                "ended_at": None,
                "operation": operation,
                "id": account,
                "csp_id": csp_id,
                "authorized": authorized,
                "status": None,
                "effect": False,
            }
        )

    def _find(self, account: str | None) -> dict[str, Any] | None:
        wanted = f"{_ID_PREFIX}{account}"
        return next((one for one in self.accounts if account is not None and one.get("id") == wanted), None)

    def _delete(self, account: str) -> bool:
        found = self._find(account)
        if found is None:
            return False
        self.accounts.remove(found)
        return True

    # --- the control -------------------------------------------------------------------------------------------------

    async def add(self, request: web.Request) -> web.Response:
        """Add sandboxes that may be given out, but for the fields that are named."""
        body = await request.json()
        fields = body.get("fields", {})
        added = [self._new() | fields for _ in range(body["count"])]
        self.accounts += added
        return web.json_response({"accounts": added})

    def _new(self) -> dict[str, Any]:
        csp_id = self._next_csp_id
        self._next_csp_id += 1
        return {
            "account_type": "sandbox",
            "state": "active",
            "id": f"{_ID_PREFIX}{uuid.uuid4()}",
            "name": f"lab-{csp_id}",
            "csp_id": csp_id,
            "created_at": "2026-01-01T00:00:00Z",
        }

    async def put(self, request: web.Request) -> web.Response:
        """Add entries as they are."""
        self.accounts += (await request.json())["accounts"]
        return web.json_response({})

    async def change(self, request: web.Request) -> web.Response:
        """Set fields of the account with this csp_id."""
        body = await request.json()
        found = [one for one in self.accounts if one.get("csp_id") == body["csp_id"]]
        for one in found:
            one.update(body["fields"])
        return web.json_response({} if found else {"error": "no such account"}, status=200 if found else 404)

    async def remove(self, request: web.Request) -> web.Response:
        """Take the accounts with these csp_ids out of the list; nobody has asked for that."""
        gone = set((await request.json())["csp_ids"])
        self.accounts = [one for one in self.accounts if one.get("csp_id") not in gone]
        return web.json_response({})

    async def read_accounts(self, _: web.Request) -> web.Response:
        """What is listed."""
        return web.json_response({"accounts": self.accounts})

    async def script(self, request: web.Request) -> web.Response:
        """Replace the script of an operation: for one account, or (id absent) for all the others."""
        body = await request.json()
        if body["operation"] not in OPERATIONS:
            return web.json_response({"error": f"operation: one of {OPERATIONS}"}, status=400)
        try:
            answers = [Scripted.parse(answer) for answer in body["answers"]]
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        self.scripts[body["operation"], body.get("id")] = answers
        return web.json_response({})

    async def read_calls(self, request: web.Request) -> web.Response:
        """Requests with seq > after, of one operation or of both; waits up to wait_s for the first."""
        return web.json_response({"items": await self.calls.read(request.query, "operation")})

    async def reset(self, _: web.Request) -> web.Response:
        """Forget accounts, requests and scripts."""
        self.accounts.clear()
        self.calls.clear()
        self.scripts.clear()
        return web.json_response({})
