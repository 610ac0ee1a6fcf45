"""An open loop: heartbeats at a fixed rate, each at its intended time whatever became of those before it.

Latency is answered - intended, so a stall shows in every beat that it delayed. It judges nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.wrk import BODY
from harness.open_loop.exchange import Exchange
from harness.open_loop.loop import OpenLoop
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


def prepared(url: str, token: str) -> bytes:
    """The heartbeat of a device, as it goes over the wire."""
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    return f"{head}Authorization: Bearer {token}\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}".encode()


def send(url: str, tokens: Sequence[str], rate: float, duration_s: float, warm_s: float = 1.0) -> list[Beat]:
    """Beats of these devices in turn, `rate` a second; those of the first `warm_s` seconds are not returned."""
    parts, beats = urlsplit(url), _Beats(time.time() - time.monotonic())
    loop = OpenLoop(f"{parts.scheme}://{parts.netloc}", connections=_CONNECTIONS, timeout_s=_TIMEOUT_S)
    requests = [prepared(url, token) for token in tokens]
    begun, total = time.monotonic() + 0.05, int(rate * (warm_s + duration_s))
    loop.run((Exchange(begun + n / rate, requests[n % len(requests)]) for n in range(total)), beats)
    loop.close()
    first = begun + beats.to_epoch_s + warm_s
    return [one for one in beats.ended_ if one.intended >= first]


class _Beats:
    """Hears of the loop's exchanges."""

    def __init__(self, to_epoch_s: float) -> None:
        """to_epoch_s: time.time() - time.monotonic()."""
        self.to_epoch_s = to_epoch_s
        self.ended_: list[Beat] = []

    def released(self, exchange: Exchange) -> None:
        """Nothing: a beat is counted at its end."""

    def ended(self, exchange: Exchange) -> float:
        ahead_s = self.to_epoch_s
        intended, sent, answered = exchange.due + ahead_s, exchange.released + ahead_s, exchange.ended + ahead_s
        self.ended_.append(Beat(intended, sent, answered, exchange.status))
        return 0.0
