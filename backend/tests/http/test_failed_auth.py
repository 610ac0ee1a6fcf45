"""A source that was limited is told so again without asking anybody, until the time that it was given is over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nexmdm.http import failed_auth
from nexmdm.http.failed_auth import BlockedAddresses
from nexmdm.kernel.settings import Limit


@pytest.fixture
def alerts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources of which an alert told."""
    told: list[str] = []

    def emit(event: str, level: str, **fields: Any) -> None:
        assert (event, level, fields["rule"]) == ("sec.auth.alert", "error", "auth_fail")
        told.append(fields["source"])

    monkeypatch.setattr(failed_auth, "emit", emit)
    return told


def test_a_limited_source_waits_and_others_do_not(alerts: list[str]) -> None:
    limited = BlockedAddresses(Limit(1, 60))
    limited.add("192.0.2.1", 30)
    assert (limited.wait_s("192.0.2.1"), limited.wait_s("192.0.2.2")) == (30, None)


async def test_its_time_ends(alerts: list[str]) -> None:
    limited = BlockedAddresses(Limit(1, 60))
    limited.add("192.0.2.1", 0)
    await asyncio.sleep(0)
    assert limited.wait_s("192.0.2.1") is None


def test_there_is_one_alert_per_source_and_window(alerts: list[str]) -> None:
    limited = BlockedAddresses(Limit(1, 60))
    for source in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1"):
        limited.add(source, 0)
    assert alerts == ["192.0.2.1", "192.0.2.2"]


def test_the_memory_is_bounded(alerts: list[str]) -> None:
    limited = BlockedAddresses(Limit(1, 60))
    for number in range(10_001):
        limited.add(f"source-{number}", 30)
    assert limited.wait_s("source-0") is None
    assert limited.wait_s("source-10000") == 30
