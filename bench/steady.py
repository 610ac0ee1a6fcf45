"""An open loop: heartbeats at a fixed rate, each at its intended time whatever became of those before it.

Latency is answered - intended, so a stall shows in every beat that it delayed. It judges nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from bench.wrk import BODY
from harness.verdict.thresholds import percentile

_TIMEOUT_S = 10.0
_CONNECTIONS = 64
LAG_LIMIT_MS = 5.0  # p99 of sent - intended: beyond it, the generator measures itself


@dataclass(frozen=True, slots=True)
class Beat:
    """One request. Times are of time.time(); status 0: there was no answer."""

    intended: float
    sent: float
    answered: float
    status: int

    @property
    def latency_ms(self) -> float:
        """One that was not answered with 200 took as long as our patience: an error is never a quick answer."""
        return max((self.answered - self.intended) * 1000, 0.0 if self.status == 200 else _TIMEOUT_S * 1000)


def latencies_ms(beats: Sequence[Beat]) -> list[float]:
    return [beat.latency_ms for beat in beats]


def lag_p99_ms(beats: Sequence[Beat]) -> float:
    """How late the generator itself was."""
    return percentile([(beat.sent - beat.intended) * 1000 for beat in beats], 0.99)


def trouble(beats: Sequence[Beat], lag_limit_ms: float = LAG_LIMIT_MS) -> str:
    """Why these beats prove nothing; empty: they do."""
    refused = sum(beat.status != 200 for beat in beats)
    if refused or not beats:
        return f"{refused} of {len(beats)} heartbeats were not answered with 200"
    lag_ms = lag_p99_ms(beats)
    return f"the generator was late: p99 {lag_ms:.1f} ms" if lag_ms > lag_limit_ms else ""


def send(url: str, tokens: Sequence[str], rate: float, duration_s: float, warm_s: float = 1.0) -> list[Beat]:
    """Beats of these devices in turn, `rate` a second; those of the first `warm_s` seconds are not returned."""
    return asyncio.run(_send(url, tokens, rate, duration_s, warm_s))


async def _send(url: str, tokens: Sequence[str], rate: float, duration_s: float, warm_s: float) -> list[Beat]:
    loop = asyncio.get_running_loop()
    beats: list[Beat] = []
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
        asyncio.TaskGroup() as group,
    ):

        async def beat(token: str, intended: float) -> None:
            sent = time.time()
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            try:
                async with session.post(url, data=BODY, headers=headers) as answer:
                    await answer.read()
                    status = answer.status
            except (aiohttp.ClientError, TimeoutError):
                status = 0
            beats.append(Beat(intended, sent, time.time(), status))

        def start(token: str, intended: float) -> None:
            group.create_task(beat(token, intended))

        clock = time.time() - loop.time()
        begun = loop.time() + 0.05
        total = int(rate * (warm_s + duration_s))
        over = asyncio.Event()
        for number in range(total):
            loop.call_at(begun + number / rate, start, tokens[number % len(tokens)], begun + number / rate + clock)
        loop.call_at(begun + total / rate, over.set)
        await over.wait()
    first = begun + clock + warm_s
    return [one for one in beats if one.intended >= first]
