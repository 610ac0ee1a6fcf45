"""One call of a JSON-RPC method: who makes it, and the transactions that it works in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg

from nexmdm.platform.auth import Caller, judge_again
from nexmdm.platform.state import Platform
from nexmdm.platform.zone_row import SNAPSHOT, Change, commit_change


@dataclass(slots=True)
class Call:
    """One call of a method. `brick`: the part of the platform that it belongs to.

    has_mounts: whether the zone has active mounts, as its last transaction has found it.
    """

    caller: Caller
    platform: Platform
    brick: str | None = None
    has_mounts: bool = field(default=False, init=False)

    @property
    def zone_id(self) -> str:
        return self.caller.zone_id

    @asynccontextmanager
    async def within(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """A transaction that reads the caller's zone alone, in one snapshot. Problem: the caller is no longer good."""
        async with self.platform.within(self.zone_id, SNAPSHOT) as tx:
            self.has_mounts = await judge_again(tx, self.caller, self.brick)
            yield tx

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """One that ends with a change of the zone's row. Problem: as of `within`."""
        async with self.platform.changing(self.zone_id) as tx:
            self.has_mounts = await judge_again(tx, self.caller, self.brick)
            yield tx

    @asynccontextmanager
    async def touching(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """One that writes, but changes nothing that an event would tell. Problem: as of `within`."""
        async with self.platform.within(self.zone_id) as tx:
            self.has_mounts = await judge_again(tx, self.caller, self.brick)
            yield tx

    async def commit(self, tx: asyncpg.Connection[Any], change: Change) -> None:
        """`commit_change` in the zone that the caller was let into, not in a later one of its id."""
        named = replace(change, zone_uid=self.caller.zone_uid, agent_id=self.caller.agent_id)
        await commit_change(tx, self.zone_id, named)
