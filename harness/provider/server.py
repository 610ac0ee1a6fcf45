"""A fake provider of sandboxes as a process of its own, and the control that fills, steers and reads it.

Run alone: `python -m harness.provider.server` prints one JSON line {url, control_url, token} and serves until SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from harness.fakes.control import Control
from harness.fakes.scripts import on_the_wire
from harness.processes.announcing import AnnouncingChild, announce, until_stopped
from harness.settings import SECRETS, HarnessError

Operation = Literal["list", "delete"]
SILENT = {"delay_s": 3600}  # an answer that never comes


class ProviderError(HarnessError):
    """The fake provider did not start, or refused a control request."""


class ProviderControl(Control):
    """Fills, steers and reads a running fake provider. It works while the API is down."""

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        super().__init__(url, "the fake provider", ProviderError, timeout_s=timeout_s)

    def add(self, count: int = 1, **fields: Any) -> list[dict[str, Any]]:
        """Add accounts that may be given out, with an id, a csp_id and a name of their own; fields replace what is
        named (account_type="tenant", state="pending", ...). Returns them as they are listed.
        """
        added: list[dict[str, Any]] = self._call("POST", "/add", {"count": count, "fields": fields})["accounts"]
        return added

    def put(self, *accounts: Any) -> None:
        """Add entries as they are, whatever they lack or repeat."""
        self._call("POST", "/put", {"accounts": accounts})

    def change(self, csp_id: int, **fields: Any) -> None:
        """Set fields of an account. ProviderError where there is none."""
        self._call("POST", "/change", {"csp_id": csp_id, "fields": fields})

    def remove(self, *csp_ids: int) -> None:
        """Take accounts out of the list, as when somebody deletes them by hand."""
        self._call("POST", "/remove", {"csp_ids": csp_ids})

    def accounts(self) -> list[dict[str, Any]]:
        """What is listed now."""
        listed: list[dict[str, Any]] = self._call("GET", "/accounts")["accounts"]
        return listed

    def script(self, operation: Operation, answers: Sequence[dict[str, Any]], account: str | None = None) -> None:
        """What the next requests (account: DELETE of this one, by the last segment of its id) are answered.

        Each answer: status (default 200), delay_s, retry_after (seconds, or the header's text), location, body (bytes)
        with content_type (default text/html), cut (the connection ends in the middle of the body), drip_s (the pause
        after each byte of the body), drop (close the connection instead of answering), times (default 1; 0: until the
        next script or reset), every (only each n-th request). effect, of a DELETE: whether the account is gone
        afterwards (default: where the answer is 200, 202 or 204). When all are used up the API is itself again.
        """
        body = {"operation": operation, "id": account, "answers": on_the_wire(answers)}
        self._call("POST", "/script", body)

    def calls(self, operation: Operation | None = None, *, after: int = 0, wait_s: float = 0.0) -> list[dict[str, Any]]:
        """Requests with seq > `after`, oldest first.

        Each: seq, at and ended_at (unix seconds; null while it goes on), operation, id, csp_id (of the account that was
        there), authorized, status (null while it goes on, 0: connection dropped), effect (whether it has deleted).
        wait_s: when there is none yet, wait this long for the first one.
        """
        query = {"after": after, "wait_s": wait_s} | ({} if operation is None else {"operation": operation})
        items: list[dict[str, Any]] = self._call("GET", f"/calls?{urlencode(query)}", extra_s=wait_s)["items"]
        return items

    def down(self) -> None:
        """Take the API off the network: connections are refused, open ones end."""
        self._call("POST", "/power", {"on": False})

    def up(self) -> None:
        """Put it back, on the same port."""
        self._call("POST", "/power", {"on": True})

    def reset(self) -> None:
        """Forget accounts, requests (seq goes on counting) and scripts."""
        self._call("POST", "/reset", {})


class ProviderServer(AnnouncingChild):
    """The fake as a child process of the harness. `.url` (what the backend is given), `.control`, `.token`."""

    def __init__(self, log_file: Path | None = None) -> None:
        """Use `start`."""
        super().__init__("harness.provider.server", "the fake provider", error=ProviderError, log=log_file)

    @classmethod
    def start(cls, *, log_file: Path | None = None, wait: bool = True) -> ProviderServer:
        """Start it on 127.0.0.1; returns when it answers, or with wait=False at once. Raises ProviderError."""
        server = cls(log_file)
        server.launch()
        if wait:
            server.wait_ready()
        return server

    def wait_ready(self) -> dict[str, Any]:
        """Return when it answers; `.url` and `.token` are known from then on. Raises ProviderError."""
        said = super().wait_ready()
        self.url, self.token = said["url"], said["token"]
        SECRETS.add(self.token)
        self.control = ProviderControl(said["control_url"])
        return said


async def _serve() -> None:
    from aiohttp import web  # noqa: PLC0415 - only the server process needs it, and it takes 0.2 s to import

    from harness.provider.app import BASE_PATH, FakeProvider  # noqa: PLC0415

    fake = FakeProvider(secrets.token_urlsafe(24))
    port = 0
    running: web.AppRunner | None = None

    async def serve(app: web.Application, port: int) -> tuple[web.AppRunner, int]:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
        return runner, int(runner.addresses[0][1])

    async def switch(on: bool) -> None:
        nonlocal running, port
        if running is not None and not on:
            await running.cleanup()
            running = None
        elif running is None and on:
            running, port = await serve(fake.api(), port)

    await switch(True)
    control, control_port = await serve(fake.control(switch), 0)
    announce(
        url=f"http://127.0.0.1:{port}{BASE_PATH}", control_url=f"http://127.0.0.1:{control_port}", token=fake.token
    )
    await until_stopped()
    await switch(False)
    await control.cleanup()


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    argparse.ArgumentParser(prog="python -m harness.provider.server", description=__doc__).parse_args()
    asyncio.run(_serve())


if __name__ == "__main__":
    main()
