"""How many files of 1 KiB a second one worker writes, over 50 zones and in one, against PostgreSQL's single rows."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from bench.cpu import tree_s
from bench.pgbench import heartbeats
from bench.rig import Refused, Rig, listed, median_ratio
from bench.rush import AT_ONCE, Rush
from harness.open_loop.exchange import Exchange
from harness.platform.seeding import remove, seed
from harness.stack.backend import Backend
from harness.verdict.thresholds import Judgement, Limit

_ZONES: Final = 50
_SOURCE: Final = f"{AT_ONCE} requests at once, closed loop; medians of interleaved pairs"
OVER_ZONES: Final = Limit(
    f"one worker's writes over {_ZONES} zones / pgbench, 16 clients", "", ">=", 0.06, source=_SOURCE
)
IN_ONE: Final = Limit("one worker's writes in one zone / pgbench, 16 clients", "", ">=", 0.035, source=_SOURCE)
_CONTENT: Final = "x" * 1024
_WRITTEN: Final = "written"


def _request(base_url: str, keys: Sequence[str], directory: str) -> Callable[[int], bytes]:
    """Of a new file, in the zone of the next key."""
    host = f"POST /api/nfs/write HTTP/1.1\r\nHost: {urlsplit(base_url).netloc}\r\nContent-Type: application/json\r\n"

    def request(number: int) -> bytes:
        params = f'{{"path":"/{directory}/{number}","content":"{_CONTENT}"}}'
        body = f'{{"jsonrpc":"2.0","id":1,"params":{params}}}'
        key = keys[number % len(keys)]
        return f"{host}Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    return request


def _outcome(exchange: Exchange) -> str:
    """An error of JSON-RPC is HTTP 200, too."""
    if exchange.status == 200 and b'"bytes_written":1024' in exchange.body:
        return _WRITTEN
    return f"{exchange.status} {exchange.body[:100]!r}"


class _Writes:
    """The rounds of one pattern. per_s, cpu_us: of each round."""

    def __init__(self, backend: Backend, keys: Sequence[str], directory: str) -> None:
        self._backend = backend
        self._rush = Rush(backend.base_url, _request(backend.base_url, keys, directory), _outcome, _WRITTEN)
        self._rush.round(1.0)  # connections, plans
        self.per_s, self.cpu_us = list[float](), list[float]()

    def round(self, duration_s: float) -> None:
        """Refused for an answer that is none of a write."""
        cpu_s = tree_s(self._backend.pid)
        self.per_s.append(self._rush.round(duration_s))
        self.cpu_us.append((tree_s(self._backend.pid) - cpu_s) / max(1, self._rush.answers.total()) * 1e6)
        if set(self._rush.answers) != {_WRITTEN}:
            raise Refused(f"answers {dict(self._rush.answers.most_common(3))}")

    def close(self) -> None:
        self._rush.close()


def writes(rig: Rig) -> list[Judgement]:
    """The ratios of both patterns."""
    plan, url = rig.plan, rig.stack.target.database_url or ""
    label, keys = secrets.token_hex(5), [f"nxk_{secrets.token_urlsafe(32)}" for _ in range(_ZONES)]
    pgbench, taken = heartbeats(url, plan.pgbench_devices), list[float]()
    seed(url, label, keys)
    with rig.backend() as backend:
        over_zones, in_one = _Writes(backend, keys, "many"), _Writes(backend, keys[:1], "one")
        try:
            for number in range(1, plan.rounds + 1):
                over_zones.round(plan.round_s)
                taken.append(pgbench.round(plan.round_s))
                in_one.round(plan.round_s)
                told = f"{over_zones.per_s[-1]:.0f}, in one {in_one.per_s[-1]:.0f}, pgbench {taken[-1]:.0f}"
                rig.say(f"writes {number}/{plan.rounds}: over {_ZONES} zones {told} a second")
        finally:
            over_zones.close()
            in_one.close()
            remove(url, label, _ZONES)
    rig.facts[f"writes: one worker over {_ZONES} zones, per s"] = listed(over_zones.per_s)
    rig.facts["writes: one worker in one zone, per s"] = listed(in_one.per_s)
    rig.facts["writes: pgbench, per s"] = listed(taken)
    rig.facts[f"writes: CPU of the backend for each, over {_ZONES} zones, us"] = listed(over_zones.cpu_us)
    rig.facts["writes: CPU of the backend for each, in one zone, us"] = listed(in_one.cpu_us)
    return [
        OVER_ZONES.judge_value(median_ratio(over_zones.per_s, taken), len(taken)),
        IN_ONE.judge_value(median_ratio(in_one.per_s, taken), len(taken)),
    ]
