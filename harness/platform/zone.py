"""A zone of the platform as one caller sees it: its files by JSON-RPC, its events and itself by REST."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.http.client import Answer, Client
from harness.platform import rpc

RPC = "/api/nfs"
EVENTS = "/api/v2/events"
ZONES = "/api/zones"
SYNC = "/api/v2/sync"
Pairs = Sequence[tuple[str, str]]


class Zone:
    """One key's view of one zone. What returns an Answer judges nothing; the others raise RpcError for a refusal."""

    def __init__(self, client: Client, key: str, zone_id: str, *, headers: Pairs = ()) -> None:
        """headers: with every request, such as X-Nexus-Zone-ID of a key that may choose the zone."""
        self.zone_id, self.key = zone_id, key
        self._client, self._headers = client, headers

    def request(self, method: str, path: str, *, headers: Pairs = (), **request: Any) -> Answer:
        """Any request with this key."""
        return self._client.bearer(self.key, method, path, headers=[*self._headers, *headers], **request)

    # --- files ---

    def call(self, method: str, /, **params: Any) -> Answer:
        """A single call at the method's URL, under the id 1."""
        return self.request("POST", f"{RPC}/{method}", json=rpc.request(method, params))

    def rpc(self, method: str, /, **params: Any) -> Any:
        """The result of a single call."""
        return rpc.answered(self.call(method, **params))

    def batch(self, calls: Any) -> Answer:
        """Several request objects in one request, or a single one that names its method itself."""
        return self.request("POST", RPC, json=calls)

    def write(self, path: str, content: bytes | str, **conditions: str) -> dict[str, Any]:
        """Store a file; text as it is. conditions: if_match, if_none_match."""
        sent = content if isinstance(content, str) else rpc.wrapped(content)
        result: dict[str, Any] = self.rpc("write", path=path, content=sent, **conditions)
        return result

    def read(self, path: str) -> bytes:
        """A whole file."""
        return rpc.unwrapped(self.rpc("read", path=path))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """A part of a file."""
        return rpc.unwrapped(self.rpc("read", path=path, offset=offset, length=length)["content"])

    def paths(self, path: str = "/", *, recursive: bool = True, limit: int = 1000) -> list[str]:
        """The paths of all entries below a directory, in the order of the list, page by page."""
        return [entry["path"] for entry in self.entries(path, recursive=recursive, limit=limit)]

    def entries(self, path: str = "/", *, recursive: bool = True, limit: int = 1000) -> Iterator[dict[str, Any]]:
        """All entries below a directory, page by page."""
        more: dict[str, Any] = {}
        while True:
            page = self.rpc("list", path=path, recursive=recursive, limit=limit, **more)
            yield from page["entries"]
            if page["next_cursor"] is None:
                return
            if page["next_cursor"] == more.get("cursor"):
                raise ValueError("a page ends where it began, and the list never does")
            more = {"cursor": page["next_cursor"]}

    # --- events and the zone itself ---

    def events(self, **params: Any) -> Answer:
        """One page of the log, newest first."""
        return self.request("GET", EVENTS, params=params)

    def replay(self, **params: Any) -> Answer:
        """One page of the log, oldest first."""
        return self.request("GET", f"{EVENTS}/replay", params=params)

    def log(self, limit: int = 1000, **params: Any) -> list[dict[str, Any]]:
        """Every event that is kept, oldest first, page by page. ValueError: a page was refused."""
        events: list[dict[str, Any]] = []
        while True:
            answer = self.replay(limit=limit, **params)
            if answer.status != 200:
                raise ValueError(f"expected 200, got {answer.status}: {answer.body[:500]!r}")
            page = answer.json()
            events += page["events"]
            if not page["has_more"]:
                return events
            params["cursor"] = page["next_cursor"]

    def look(self) -> Answer:
        """The zone itself."""
        return self.request("GET", f"{ZONES}/{self.zone_id}")

    def delete_zone(self) -> Answer:
        """End the zone."""
        return self.request("DELETE", f"{ZONES}/{self.zone_id}")

    def usage(self) -> dict[str, Any]:
        """What the zone uses, by the names of its limits. ValueError: the zone is not shown."""
        answer = self.look()
        if answer.status != 200:
            raise ValueError(f"expected 200, got {answer.status}: {answer.body[:500]!r}")
        usage: dict[str, Any] = answer.json()["usage"]
        return usage
