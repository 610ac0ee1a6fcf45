"""The students of a pool: what they ask for at an arrival rate, and whether each answer is the wanted one.

A share of the requests is of students that nobody knows yet; the others are of those who have a sandbox. A student has
one request at a time, so that there is one right answer to it.
"""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from harness.open_loop.exchange import Exchange
from harness.sandboxes.calls import ALLOCATE, RELEASE, VIEW, Call
from load.arrival_rate.schedule import WARM_UP, Leg, jitters
from load.arrival_rate.workload import WorkerConfig, json_object
from load.workloads.call_record import CallRecord
from load.workloads.students import LABS

NEW, REPLAY, STATS = "new", "replay", "stats"
DRAIN: Final = "drain"  # of a mix: the warm-up takes a sandbox with each request, where it would only look
_RECORDED: Final = {NEW: ALLOCATE, REPLAY: ALLOCATE, RELEASE: RELEASE, VIEW: VIEW}


class _Asked(NamedTuple):
    """A request that is not answered yet. what: its kind, or what a warm-up stands for; has: what its student had."""

    what: str
    track_id: str
    has: Call | None


class StudentRequests:
    """Those of one process. tokens of the config: the key of role track, then the one of role admin."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._jitter = jitters(config.devices, config.seed)
        self._rng = random.Random(f"{config.seed}/{config.index}")
        mix = dict(config.mix)
        self._warm_up = NEW if mix.pop(DRAIN, 0) else VIEW
        self._kinds, self._shares = list(mix), list(mix.values())
        track_key, admin_key = config.tokens
        host = f" HTTP/1.1\r\nHost: {urlsplit(config.base_url).netloc}\r\nAuthorization: Bearer "
        self._student, self._admin = f"{host}{track_key}\r\nX-Track-ID: ", f"{host}{admin_key}"
        self._have: list[Call] = []  # what students have, each as its allocation was answered
        self._asked: dict[int, _Asked] = {}  # by the number of the request
        self._requests = 0

    def of(self, leg: Leg) -> Iterator[Exchange]:
        """Those of a leg, in order of time. Whose a request is, is drawn when it is next."""
        config = self._config
        for _, _, at in leg.plan(self._jitter, config.index, config.processes):
            kind = leg.kind if leg.kind == WARM_UP else self._rng.choices(self._kinds, self._shares)[0]
            yield self._exchange(kind, at - config.ahead_s)

    def accept(self, exchange: Exchange, record: CallRecord) -> bool:
        """Whether the answer is the wanted one; notes the call."""
        asked = self._asked.pop(exchange.subject)
        answer = json_object(exchange.body)
        call = self._call(asked, exchange, answer)
        outcome = self._judged(asked, exchange, answer, call)
        record.outcomes[f"{asked.what} {outcome or 'wrong'}"] += 1
        if asked.what == NEW or asked.has is not None:  # others are of no student who has asked for anything
            record.add(call)
        self._goes_on(asked, exchange, call, outcome)
        return bool(outcome)

    def _exchange(self, kind: str, due: float) -> Exchange:
        has = self._drawn() if kind in (REPLAY, RELEASE, VIEW) else None
        if has is None and kind not in (WARM_UP, STATS):
            kind = NEW  # also where nobody has a sandbox yet
        what = self._warm_up if kind == WARM_UP else kind
        number, self._requests = self._requests, self._requests + 1
        track_id = has.track_id if has else f"{self._config.run}-{self._config.index}-{number}"
        self._asked[number] = _Asked(what, track_id, has)
        return Exchange(due, self._request(what, track_id, has, number).encode(), kind, number)

    def _drawn(self) -> Call | None:
        """What a student keeps for a while yet, who has no request on its way; None: there is no such student."""
        until = time.monotonic() + self._config.ahead_s + 2 * self._config.timeout_s
        while self._have:
            place = self._rng.randrange(len(self._have))
            self._have[place], self._have[-1] = self._have[-1], self._have[place]
            has = self._have.pop()
            if has.expires_at > until:
                return has
        return None

    def _request(self, what: str, track_id: str, has: Call | None, number: int) -> str:
        end = f"\r\nX-Request-ID: {self._config.run}-{self._config.index}-{what}-{number}\r\n\r\n"
        if what == STATS:
            return f"GET /v1/admin/stats{self._admin}{end}"
        if what == VIEW:
            path = f"/v1/sandboxes/{has.sandbox_id}" if has else "/v1/allocations/current"
            return f"GET {path}{self._student}{track_id}{end}"
        path = f"/v1/sandboxes/{has.sandbox_id}/mark-for-deletion" if has and what == RELEASE else "/v1/allocate"
        lab = f"\r\nX-Instruqt-Track-ID: {LABS[zlib.crc32(track_id.encode()) % len(LABS)]}"
        return f"POST {path}{self._student}{track_id}{lab}\r\nContent-Length: 0{end}"

    def _call(self, asked: _Asked, exchange: Exchange, answer: Mapping[str, Any]) -> Call:
        """What is recorded: times that the server's own surely lie between."""
        config, sent = self._config, exchange.sent or exchange.released
        says = _RECORDED.get(asked.what, "") == ALLOCATE and exchange.status < 300
        sandbox_id = str(answer.get("sandbox_id", "")) if says else asked.has.sandbox_id if asked.has else ""
        return Call(
            _RECORDED.get(asked.what, ""),
            asked.track_id,
            sent + config.ahead_s - config.uncertainty_s,
            exchange.ended + config.ahead_s + config.uncertainty_s,
            exchange.status,
            sandbox_id,
            _count(answer.get("allocated_at")) if says else 0,
            _count(answer.get("expires_at")) if says else 0,
        )

    def _judged(self, asked: _Asked, exchange: Exchange, answer: Mapping[str, Any], call: Call) -> str:
        """What a right answer means; empty: this is none."""
        status, has = exchange.status, asked.has
        match asked.what:
            case "new" if status == 201 and call.sandbox_id and call.allocated_at < call.expires_at:
                return "allocated"
            case "new" if status == 409 and answer.get("code") == "no_sandboxes_available":
                return "exhausted" if b"\r\nretry-after:" in exchange.head else ""
            case "replay" if status == 200 and b"\r\nidempotent-replay: true" in exchange.head:
                return "replayed" if has is not None and _same(call, has) else ""
            case "release" if status == 200 and has is not None:
                return "released" if _is(answer, has, "pending_deletion") else ""
            case "view" if has is None:
                return "none" if status == 404 and answer.get("code") == "no_allocation" else ""
            case "view" if status == 200 and has is not None:
                return "seen" if _is(answer, has, "allocated") else ""
            case "stats" if status == 200:
                return "counted" if isinstance(answer.get("total"), int) else ""
        return ""

    def _goes_on(self, asked: _Asked, exchange: Exchange, call: Call, outcome: str) -> None:
        """A student with a sandbox is there for further requests, unless it was given back, or may have been."""
        if outcome == "allocated" and exchange.kind == NEW:
            self._have.append(call)
        elif asked.has is not None and asked.what != RELEASE:
            self._have.append(asked.has)


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _is(answer: Mapping[str, Any], has: Call, status: str) -> bool:
    return (answer.get("sandbox_id"), answer.get("status")) == (has.sandbox_id, status)


def _same(call: Call, has: Call) -> bool:
    return (call.sandbox_id, call.allocated_at, call.expires_at) == (has.sandbox_id, has.allocated_at, has.expires_at)
