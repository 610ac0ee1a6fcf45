"""What every kind of backend of a mount has to do, and how its tests look at it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from nexmdm.platform.connector import ConflictError, Connector, Entry, Remote

ANOTHER = Remote("another", 1, datetime.now(UTC))


async def stat(directory: Connector, path: str) -> Remote:
    found = await directory.stat(path)
    assert found is not None
    return found


def keys(entries: Sequence[Entry]) -> list[str]:
    return [entry.key for entry in entries]


async def leaves_the_unexpected(directory: Connector, expected: Remote) -> None:
    """At `a` lies another file than the expected one: nothing takes its place, nothing deletes it, and it is told."""
    theirs = await stat(directory, "a")
    for wanted in (None, expected):
        with pytest.raises(ConflictError) as refused:
            await directory.write("a", b"ours", wanted)
        assert refused.value.theirs == theirs
    with pytest.raises(ConflictError) as refused:
        await directory.delete("a", expected)
    assert refused.value.theirs == theirs
    with pytest.raises(ConflictError) as refused:
        await directory.write("gone", b"ours", expected)
    assert refused.value.theirs is None
