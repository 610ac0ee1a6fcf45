"""Prepared requests of a platform's workloads: the part of a process, and what a request says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from harness.open_loop.exchange import Exchange
from load.arrival_rate.workload import WorkerConfig


def part(
    workload: str,
    devices: int,
    tokens: Sequence[str],
    index: int = 0,
    processes: int = 1,
    mix: Sequence[tuple[str, float]] = (),
) -> WorkerConfig:
    """That of one process of several."""
    return WorkerConfig(
        devices=devices,
        seed=1,
        run="run",
        origin=0.0,
        workload=workload,
        index=index,
        processes=processes,
        mix=mix,
        base_url="http://127.0.0.1:1",
        tokens=tokens,
        ahead_s=0.0,
    )


def sent(exchange: Exchange) -> tuple[str, str, dict[str, Any]]:
    """Method and path, key and body of a request."""
    head, _, body = exchange.data.partition(b"\r\n\r\n")
    assert not body or f"Content-Length: {len(body)}".encode() in head
    key = head.partition(b"Bearer ")[2].partition(b"\r")[0].decode()
    return head.partition(b" HTTP/1.1")[0].decode(), key, json.loads(body or b"{}")
