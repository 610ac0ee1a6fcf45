"""How many sandboxes a second one worker gives out, against what PostgreSQL takes of single rows, in turns."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from bench.cpu import tree_s
from bench.pgbench import heartbeats
from bench.rig import Refused, Rig, listed, median_ratio
from bench.rush import AT_ONCE, Rush
from harness.api_keys import insert_key
from harness.sandboxes.seeding import remove, seed
from harness.verdict.thresholds import Judgement, Limit

_SOURCE: Final = f"{AT_ONCE} requests at once, closed loop; medians of interleaved pairs"
TO_PGBENCH: Final = Limit("one worker's allocations / pgbench, 16 clients", "", ">=", 0.12, source=_SOURCE)
_MOST_PER_S: Final = 2_500  # seeded for each second


def _request(base_url: str, key: str, name: str) -> Callable[[int], bytes]:
    """Of a new student."""
    head = f"POST /v1/allocate HTTP/1.1\r\nHost: {urlsplit(base_url).netloc}\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Length: 0\r\nX-Track-ID: {name}-"
    return lambda number: f"{head}{number}\r\n\r\n".encode()


def allocations(rig: Rig) -> list[Judgement]:
    """The ratio of their capacity."""
    plan, url = rig.plan, rig.stack.target.database_url or ""
    label, key = secrets.token_hex(5), insert_key(url, "track")
    pgbench = heartbeats(url, plan.pgbench_devices)
    seed(url, label, (plan.rounds + 1) * plan.round_s * _MOST_PER_S)
    given, taken, cpu_us = list[float](), list[float](), list[float]()
    with rig.backend() as backend:
        request = _request(backend.base_url, key, f"bench-{label}")
        rush = Rush(backend.base_url, request, lambda exchange: str(exchange.status), "201")
        try:
            rush.round(1.0)  # connections, plans
            for number in range(1, plan.rounds + 1):
                cpu_s = tree_s(backend.pid)
                given.append(rush.round(plan.round_s))
                cpu_us.append((tree_s(backend.pid) - cpu_s) / max(1, rush.answers.total()) * 1e6)
                if set(rush.answers) != {"201"}:
                    raise Refused(f"answers {dict(rush.answers)}, wanted 201 alone")
                taken.append(pgbench.round(plan.round_s))
                rig.say(f"allocations {number}/{plan.rounds}: {given[-1]:.0f}, pgbench {taken[-1]:.0f} a second")
        finally:
            rush.close()
            remove(url, label)
    rig.facts["allocations: one worker, per s"] = listed(given)
    rig.facts["allocations: pgbench, per s"] = listed(taken)
    rig.facts["allocations: CPU of the backend for each, us"] = listed(cpu_us)
    return [TO_PGBENCH.judge_value(median_ratio(given, taken), len(given))]
