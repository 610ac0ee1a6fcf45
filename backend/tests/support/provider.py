"""A provider of sandboxes on a port of its own, which does what a test tells it. It asserts nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

TOKEN = "the-token-of-the-provider"


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def entry(number: int, **fields: Any) -> dict[str, Any]:
    """An active sandbox account as the provider lists it; a field that is given as ... is left out."""
    made = {
        "account_type": "sandbox",
        "state": "active",
        "id": f"identity/accounts/{uuid(number)}",
        "name": f"lab {number}",
        "csp_id": number,
        "created_at": "2026-11-26T12:00:00Z",
    }
    return {name: value for name, value in {**made, **fields}.items() if value is not ...}


@dataclass
class FakeProvider:
    """Lists `entries`; `body` stands in their place. Each call is answered with `status`, or as its script says."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    body: bytes | None = None
    status: int | None = None  # None: 200 for the list, 204 for a deletion
    headers: str = ""
    drop: bool = False
    cut: bool = False  # the body ends too soon
    drip_s: float = 0.0  # between the bytes of a body
    wait_s: float = 0.0  # before an answer
    hold: asyncio.Event | None = None  # a call waits for it before its answer
    script: list[int] = field(default_factory=list)  # statuses of the next calls
    requests: list[str] = field(default_factory=list)
    most_at_once: int = 0
    url: str = ""
    _running: int = 0
    _called: asyncio.Condition = field(default_factory=asyncio.Condition)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def deleted(self) -> list[str]:
        """The last segment of each DELETE, in order."""
        return [head.split()[1].rpartition("/")[2] for head in self.requests if head.startswith("DELETE ")]

    async def called(self, times: int) -> None:
        """Wait until so many calls have come."""
        async with asyncio.timeout(5), self._called:
            await self._called.wait_for(lambda: len(self.requests) >= times)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._handle(reader, writer)))

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        async with self._called:
            self.requests.append(head)
            self._called.notify_all()
        self._running += 1
        self.most_at_once = max(self.most_at_once, self._running)
        try:
            if (hold := self.hold) is not None:
                await hold.wait()
            await asyncio.sleep(self.wait_s)
            with suppress(ConnectionError):  # who asked has read enough
                await self._answer(head, writer)
        finally:
            self._running -= 1
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, head: str, writer: asyncio.StreamWriter) -> None:
        if self.drop:
            return
        status = self.script.pop(0) if self.script else self.status
        listing = json.dumps({"results": self.entries}).encode()
        body = b"" if head.startswith("DELETE ") else listing if self.body is None else self.body
        status = status or (204 if head.startswith("DELETE ") else 200)
        length = "" if status == 204 else f"content-length: {len(body) + self.cut}\r\n"
        writer.write(f"HTTP/1.1 {status} X\r\nconnection: close\r\n{length}{self.headers}\r\n".encode())
        if not self.drip_s:
            writer.write(body)
        for byte in body if self.drip_s else b"":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(self.drip_s)
        await writer.drain()


@asynccontextmanager
async def serving() -> AsyncIterator[FakeProvider]:
    """The provider while it can be reached."""
    made = FakeProvider()
    listening = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/api"
    try:
        yield made
    finally:
        listening.close()
        for task in made._tasks:
            task.cancel()
        await asyncio.gather(*made._tasks, return_exceptions=True)
