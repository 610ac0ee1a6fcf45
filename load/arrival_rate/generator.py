"""Sends the beats of a leg when they are due, each in a greenlet of its own. It never waits for an answer.

Latency is answered - intended: a beat that must wait for a free connection, because as many as the generator opens
are unanswered, shows all of that wait, as its device would. Lag, which voids a run, is the generator's own: how long
after its time a beat's greenlet began.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import gevent
from gevent.lock import Semaphore
from gevent.pool import Group

from harness.devices.device import Device
from load.arrival_rate.http_client import Connections, NoAnswer
from load.arrival_rate.schedule import Beat, Leg, jitters
from load.measurements.histogram import Timings
from load.measurements.tally import Tally
from load.workloads.schedule import bucket_of

_BODIES = 64
_YIELD_EVERY = 16
_LATE_BUCKETS = 6  # a beat that was given up may still be stored when the server comes to itself
GRACE_S = 0.1  # an answer this long after the end of a leg still belongs to its rate


@dataclass(frozen=True)
class Outfit:
    """What a process needs to send: where to, as whom, and by which clock.

    tokens: of its own devices, of which it has every `processes`-th from `index` on. skew_s: server time - this
    machine's; uncertainty_s: how well that is known. origin: the beginning of the run, server time.
    """

    base_url: str
    tokens: Sequence[str] = field(repr=False)
    devices: int
    seed: int
    run: str
    origin: float
    skew_s: float = 0.0
    uncertainty_s: float = 0.0
    index: int = 0
    processes: int = 1
    interval_s: float = 1.0
    timeout_s: float = 10.0
    bucket_s: float = 10.0

    def to_dict(self) -> dict[str, Any]:
        """For a message between processes of one machine."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        return cls(**document)


class Generator:
    """One process's part of the load. `tally` is that of the present leg, or of the last one."""

    def __init__(self, outfit: Outfit) -> None:
        self.outfit = outfit
        self._connections = Connections(outfit.base_url)
        self._jitter = jitters(outfit.devices, outfit.seed)
        self._ends = _ends(outfit)
        self._offset_s = time.time() + outfit.skew_s - time.monotonic()
        self._beats = Group()
        self.tally = self._blank()

    def now(self) -> float:
        """Server time, seconds since the epoch."""
        return time.monotonic() + self._offset_s

    def run(self, leg: Leg) -> Tally:
        """Send the leg; returns when every beat was answered or given up."""
        outfit = self.outfit
        self.tally = self._blank()
        self.tally.planned = leg.share(outfit.devices, outfit.index, outfit.processes)
        self._connections.busiest = 0
        gate = Semaphore(leg.at_once) if leg.at_once else None
        gevent.sleep(max(0.0, leg.start - self.now()))
        began, cpu_began = time.monotonic(), time.process_time()
        for n, beat in enumerate(leg.plan(self._jitter, outfit.index, outfit.processes)):
            early_s = beat.at - self.now()
            if early_s > 0:
                gevent.sleep(early_s)
            elif n % _YIELD_EVERY == 0:
                gevent.sleep(0)  # behind its time, and those that it has spawned must get their turn
            if gate is not None:
                gate.acquire()
            self._beats.spawn(self._send, leg, beat, gate)
        took_s = time.monotonic() - began
        self.tally.cpu = (time.process_time() - cpu_began) / took_s if took_s > 0 else 0.0
        self._beats.join()
        self.tally.busiest = self._connections.busiest
        return self.tally

    def stop(self) -> None:
        """Give up whatever is under way."""
        self._beats.kill(timeout=2.0)
        self._connections.close()

    def _blank(self) -> Tally:
        return Tally(Timings(self.outfit.interval_s, self.outfit.timeout_s))

    def _send(self, leg: Leg, beat: Beat, gate: Semaphore | None) -> None:
        outfit, tally = self.outfit, self.tally
        began = self.now()
        tally.sent += 1
        tally.lag.record(began - beat.at)
        head, tail = self._ends[beat.number % _BODIES]
        token = outfit.tokens[beat.device // outfit.processes]
        request_id = f"{outfit.run}-{leg.kind}-{beat.number}"
        request = head + f"{token}\r\nX-Request-ID: {request_id}".encode() + tail
        status, trouble = 0, ""
        try:
            with gevent.Timeout(outfit.timeout_s, TimeoutError(f"no answer within {outfit.timeout_s:g} s")):
                status = self._connections.ask(request)
        except (NoAnswer, TimeoutError) as error:
            trouble = str(error)
        finally:
            if gate is not None:
                gate.release()
        answered = self.now()
        ok = status == 200
        tally.answered += ok
        tally.unanswered += status == 0 or status >= 500
        tally.in_time += ok and answered <= leg.end + GRACE_S
        if not ok:
            tally.others[f"status {status}" if status else trouble] += 1
        # A warm-up that was held back is judged by nothing: its times count from when it was really sent.
        intended = began if leg.at_once else beat.at
        tally.timings.record(leg.kind, intended - outfit.origin, answered - outfit.origin, ok=ok)
        first = bucket_of(began - outfit.uncertainty_s, outfit.bucket_s)
        last = bucket_of(answered + outfit.uncertainty_s, outfit.bucket_s)
        if not status:
            last += _LATE_BUCKETS
        tally.rows.record(beat.device, first, last, status)


def _ends(outfit: Outfit) -> list[tuple[bytes, bytes]]:
    """Requests without what differs from beat to beat: up to the token, and from after the request id on."""
    head = f"POST /v1/heartbeat HTTP/1.1\r\nHost: {urlsplit(outfit.base_url).netloc}\r\nAuthorization: Bearer "
    device = Device(outfit.base_url, outfit.run, rng=random.Random(outfit.seed))
    bodies = [json.dumps(device.vitals(), separators=(",", ":")) for _ in range(_BODIES)]
    return [
        (head.encode(), f"\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        for body in bodies
    ]
