"""What a fake was asked, in order and numbered, for readers that wait for the next."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Mapping
from operator import itemgetter
from typing import Any


class Journal:
    """Numbered items, oldest first; the numbers go on when it is emptied."""

    def __init__(self, items: list[dict[str, Any]] | None = None) -> None:
        self.items = items or []
        self._next_seq = 1 + max((item["seq"] for item in self.items), default=0)
        self._moved = asyncio.Event()

    def add(self, item: dict[str, Any]) -> dict[str, Any]:
        """Append an item; returns it with its `seq` and `at` (unix seconds)."""
        numbered = {"seq": self._next_seq, "at": time.time()} | item
        self._next_seq += 1
        self.items.append(numbered)
        self._moved.set()
        self._moved = asyncio.Event()
        return numbered

    async def read(self, query: Mapping[str, str], field: str) -> list[dict[str, Any]]:
        """Items with seq > `after` whose `field` is as the query says, or all; waits up to `wait_s` for the first."""
        after, wanted = int(query.get("after", "0")), query.get(field)
        until = time.monotonic() + float(query.get("wait_s", "0"))
        while True:
            moved = self._moved
            newer = self.items[bisect_right(self.items, after, key=itemgetter("seq")) :]
            found = [item for item in newer if wanted in (None, item[field])]
            left_s = until - time.monotonic()
            if found or left_s <= 0:
                return found
            try:
                await asyncio.wait_for(moved.wait(), left_s)
            except TimeoutError:
                continue

    def clear(self) -> None:
        """Forget all items."""
        self.items.clear()
