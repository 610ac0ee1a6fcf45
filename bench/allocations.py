"""How many sandboxes a second one worker gives out, against what PostgreSQL takes of single rows, in turns."""

from __future__ import annotations

import itertools
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from bench.cpu import tree_s
from bench.pgbench import Pgbench
from bench.rig import Refused, Rig, listed, median_ratio
from harness.api_keys import insert_key
from harness.open_loop.exchange import Exchange
from harness.open_loop.loop import OpenLoop
from harness.sandboxes.seeding import remove, seed
from harness.verdict.thresholds import Judgement, Limit

_SOURCE: Final = "32 requests at once, closed loop; medians of interleaved pairs"
TO_PGBENCH: Final = Limit("one worker's allocations / pgbench, 16 clients", "", ">=", 0.12, source=_SOURCE)
_AT_ONCE: Final = 32
_MOST_PER_S: Final = 2_500  # seeded for each second


class _Rush:
    """New students, as fast as they are served. answers: by status, of the present round."""

    def __init__(self, base_url: str, key: str, name: str) -> None:
        self._loop = OpenLoop(base_url, connections=_AT_ONCE)
        head = f"POST /v1/allocate HTTP/1.1\r\nHost: {urlsplit(base_url).netloc}\r\nAuthorization: Bearer {key}\r\n"
        self._head, self._numbers = f"{head}Content-Length: 0\r\nX-Track-ID: {name}-", itertools.count()
        self.answers: Counter[int] = Counter()

    def round(self, duration_s: float) -> float:
        """Allocations a second."""
        self.answers, begun = Counter(), time.monotonic()
        self._loop.run(self._students(begun, begun + duration_s), self, window=_AT_ONCE)
        return self.answers[201] / (time.monotonic() - begun)

    def _students(self, due: float, until: float) -> Iterator[Exchange]:
        while time.monotonic() < until:
            number = next(self._numbers)
            yield Exchange(due, f"{self._head}{number}\r\n\r\n".encode())

    def released(self, exchange: Exchange) -> None:
        """Of the loop."""

    def ended(self, exchange: Exchange) -> float:
        self.answers[exchange.status] += 1
        return 0.0

    def close(self) -> None:
        self._loop.close()


def allocations(rig: Rig) -> list[Judgement]:
    """The ratio of their capacity."""
    plan, url = rig.plan, rig.stack.target.database_url or ""
    label, key = secrets.token_hex(5), insert_key(url, "track")
    pgbench = Pgbench(url, plan.pgbench_devices)
    seed(url, label, (plan.rounds + 1) * plan.round_s * _MOST_PER_S)
    given, taken, cpu_us = list[float](), list[float](), list[float]()
    with rig.backend() as backend:
        rush = _Rush(backend.base_url, key, f"bench-{label}")
        try:
            rush.round(1.0)  # connections, plans
            for number in range(1, plan.rounds + 1):
                cpu_s = tree_s(backend.pid)
                given.append(rush.round(plan.round_s))
                cpu_us.append((tree_s(backend.pid) - cpu_s) / max(1, rush.answers.total()) * 1e6)
                if set(rush.answers) != {201}:
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
