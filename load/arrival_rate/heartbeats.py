"""The heartbeats of a seeded fleet as a workload: which requests they are, and what each must leave in the target."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from urllib.parse import urlsplit

from harness.devices.device import Device
from harness.open_loop.exchange import Exchange
from load.arrival_rate.generator import Outfit
from load.arrival_rate.schedule import Leg, jitters
from load.measurements.tally import Rows
from load.workloads.schedule import bucket_of

_BODIES = 64
_LATE_BUCKETS = 6  # a beat that was given up may still be stored when the server comes to itself


class Heartbeats:
    """The part of the fleet that the outfit names; every beat has a request id of its own."""

    def __init__(self, outfit: Outfit) -> None:
        self._outfit = outfit
        self._jitter = jitters(outfit.devices, outfit.seed)
        self._tokens = [token.encode() for token in outfit.tokens]
        self._ends = _ends(outfit)

    def requests(self, leg: Leg) -> Iterator[Exchange]:
        """Those of a leg, in order of time."""
        outfit, tokens, ends = self._outfit, self._tokens, self._ends
        to_monotonic = -outfit.ahead_s
        request_id = f"\r\nX-Request-ID: {outfit.run}-{leg.kind}-".encode()
        for number, device, at in leg.plan(self._jitter, outfit.index, outfit.processes):
            head, tail = ends[number % _BODIES]
            request = b"%b%b%b%d%b" % (head, tokens[device // outfit.processes], request_id, number, tail)
            yield Exchange(at + to_monotonic, request, leg.kind, device)

    def accept(self, exchange: Exchange, rows: Rows) -> bool:
        """Whether the answer is the wanted one; notes the row that it must have left."""
        outfit, status = self._outfit, exchange.status
        first = bucket_of(exchange.released + outfit.ahead_s - outfit.uncertainty_s, outfit.bucket_s)
        last = bucket_of(exchange.ended + outfit.ahead_s + outfit.uncertainty_s, outfit.bucket_s)
        rows.record(exchange.subject, first, last if status else last + _LATE_BUCKETS, status)
        return status == 200


def _ends(outfit: Outfit) -> list[tuple[bytes, bytes]]:
    """Requests without what differs from beat to beat: up to the token, and from after the request id on."""
    head = f"POST /v1/heartbeat HTTP/1.1\r\nHost: {urlsplit(outfit.base_url).netloc}\r\nAuthorization: Bearer "
    device = Device(outfit.base_url, outfit.run, rng=random.Random(outfit.seed))
    bodies = [json.dumps(device.vitals(), separators=(",", ":")) for _ in range(_BODIES)]
    return [
        (head.encode(), f"\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        for body in bodies
    ]
