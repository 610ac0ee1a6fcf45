"""An open loop on raw sockets, in a process of its own: tens of thousands of heartbeats a second from one core.

Every beat has its intended time, whatever became of those before it; one that finds no free connection waits for one,
and its wait counts. It reads no more of an answer than its status, its Retry-After and its length.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import select
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from bench.wrk import BODY
from harness.processes.child import allow_descriptors, bare_environment, python_module, run_to_end, workspace
from harness.settings import HarnessError
from harness.verdict.thresholds import percentile

SHED: Final = (429, 503)
_SWEEP_S = 0.25
_LONGEST_POLL_S = 0.05


@dataclass(frozen=True)
class Stage:
    """So many beats a second for so long.

    until: the stage ends with its time, or when all that was sent is answered, or when every beat was heard: then
    whoever is shed sends again after its Retry-After.
    """

    per_s: float
    duration_s: float
    until: Literal["time", "answered", "heard"] = "time"


@dataclass
class Outcome:
    """What became of the beats of a stage. Latencies are answered - intended, in ms, of those answered with 200.

    `service_p99_ms` and `shed_p99_ms`: answered - sent, of the yes and of the sheds: without the wait for a connection,
    which a device with one of its own does not have.

    `statuses`: answers by status; `mute`: sheds without a Retry-After; `lost`: no answer in time, or a connection cut;
    `gave_up`: never sent, since no connection came free in time; `bad_until_s`: after the beginning of the stage, the
    intended time of the last beat that was shed, lost or slow; `heard_s`: when the last 200 came.
    """

    planned: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    mute: int = 0
    lost: int = 0
    gave_up: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    slowest_ms: float | None = None
    service_p99_ms: float | None = None
    shed_p99_ms: float | None = None
    per_s: float = 0.0
    bad_until_s: float = 0.0
    heard_s: float = 0.0
    connections: int = 0
    lag_p99_ms: float = 0.0
    cpu: float = 0.0

    @property
    def answered(self) -> int:
        return self.statuses.get("200", 0)

    @property
    def shed(self) -> int:
        return sum(self.statuses.get(str(status), 0) for status in SHED)

    @property
    def other(self) -> dict[str, int]:
        """Answers that are neither a yes nor a shed."""
        known = {"200", *map(str, SHED)}
        return {status: n for status, n in self.statuses.items() if status not in known}


@dataclass(frozen=True)
class Order:
    """What the process is told. patient: who is shed lets its connection rest for its Retry-After, as a device does."""

    url: str
    tokens: str  # a file, one a line
    stages: Sequence[Stage]
    connections: int = 4000
    timeout_s: float = 10.0
    slow_ms: float = 150.0
    cpu: int | None = None  # to stay on
    patient: bool = True


def flood(order: Order) -> list[Outcome]:
    """Run it in a process of its own, one outcome per stage. HarnessError when that breaks."""
    folder = workspace("flood")
    (folder / "order.json").write_text(json.dumps(asdict(order)), encoding="utf-8")
    argv, env = python_module("bench.flood")
    within_s = 60 + 2 * sum(stage.duration_s + order.timeout_s for stage in order.stages)
    within_s += 600 if any(stage.until == "heard" for stage in order.stages) else 0
    code, said = run_to_end([*argv, str(folder)], env=bare_environment(env), within_s=within_s)
    if code:
        raise HarnessError(f"the flood ended with exit code {code}: {said.strip()[-300:]}")
    return [Outcome(**one) for one in json.loads((folder / "outcomes.json").read_text(encoding="utf-8"))]


@dataclass(slots=True)
class _Beat:
    intended: float
    device: int
    sent: float = 0.0


class _Connection:
    __slots__ = ("beat", "ready", "received", "sock")

    def __init__(self, address: tuple[str, int]) -> None:
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect_ex(address)
        self.ready = False
        self.beat: _Beat | None = None
        self.received = b""


class _Flood:
    """The loop. Lives for all stages; connections stay open from one to the next."""

    def __init__(self, order: Order) -> None:
        self._order = order
        parts = urlsplit(order.url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer ".encode()
        tail = f"\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}"
        self._tail = tail.encode()
        self._tokens = [token.encode() for token in Path(order.tokens).read_text(encoding="utf-8").split()]
        self._device = 0
        self._poll = select.epoll()
        self._open: dict[int, _Connection] = {}
        self._idle: list[_Connection] = []
        self._waiting: deque[_Beat] = deque()
        self._later: list[tuple[float, int]] = []
        self._parked: list[tuple[float, int, _Connection]] = []
        self._random = random.Random(0)  # noqa: S311 - a crowd's jitter is no secret

    def run(self, stage: Stage) -> Outcome:
        self._stage, self._outcome = stage, Outcome(planned=int(stage.per_s * stage.duration_s))
        self._latencies: list[float] = []
        self._services: list[float] = []
        self._sheds: list[float] = []
        self._statuses: Counter[str] = Counter()
        lags: list[float] = []
        begun, cpu = time.monotonic() + 0.01, time.process_time()
        self._begun = begun
        released, swept = 0, begun
        while True:
            now = time.monotonic()
            while released < self._outcome.planned and begun + released / stage.per_s <= now:
                intended = begun + released / stage.per_s
                lags.append((now - intended) * 1000)
                self._send(_Beat(intended, self._device))
                self._device = (self._device + 1) % len(self._tokens)
                released += 1
            while self._later and self._later[0][0] <= now:
                intended, device = heapq.heappop(self._later)
                self._send(_Beat(intended, device))
            while self._parked and self._parked[0][0] <= now:
                _, _, connection = heapq.heappop(self._parked)
                if connection.sock.fileno() >= 0:
                    self._free(connection)
            if now - swept > _SWEEP_S:
                swept = now
                self._sweep(now)
            if released >= self._outcome.planned and self._over(now):
                break
            due = begun + released / stage.per_s if released < self._outcome.planned else now + _LONGEST_POLL_S
            for number, _ in self._poll.poll(min(max(due - now, 0.0), _LONGEST_POLL_S), 512):
                self._serve(self._open[number])
        return self._concluded(lags, time.process_time() - cpu)

    def _over(self, now: float) -> bool:
        """What is under way when the time is up belongs to nobody."""
        if self._stage.until == "time":
            return now >= self._begun + self._stage.duration_s
        return not (self._later or self._waiting) and all(one.beat is None for one in self._open.values())

    def _send(self, beat: _Beat) -> None:
        if self._idle:
            connection = self._idle.pop()
            connection.beat = beat
            self._write(connection)
        elif len(self._open) < self._order.connections:
            connection = _Connection(self._address)
            connection.beat = beat
            self._open[connection.sock.fileno()] = connection
            self._poll.register(connection.sock, select.EPOLLOUT)
            self._outcome.connections = max(self._outcome.connections, len(self._open))
        else:
            self._waiting.append(beat)

    def _write(self, connection: _Connection) -> None:
        assert connection.beat is not None
        connection.beat.sent = time.monotonic()
        try:
            connection.sock.send(self._head + self._tokens[connection.beat.device] + self._tail)
        except OSError:
            self._lose(connection)

    def _serve(self, connection: _Connection) -> None:
        if not connection.ready:
            if connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._lose(connection)
                return
            connection.ready = True
            self._poll.modify(connection.sock, select.EPOLLIN)
            self._write(connection)
            return
        try:
            received = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._lose(connection)
            return
        answer = connection.received + received if connection.received else received
        end = answer.find(b"\r\n\r\n")
        at = answer.find(b"content-length: ", 0, end)
        if end < 0 or len(answer) < end + 4 + int(answer[at + 16 : answer.index(b"\r", at)]):
            connection.received = answer
            return
        connection.received = b""
        after_s = self._answered(connection, int(answer[9:12]), answer[:end])
        if b"connection: close" in answer[:end]:
            self._close(connection)
        elif after_s and self._order.patient:
            heapq.heappush(self._parked, (time.monotonic() + after_s, connection.sock.fileno(), connection))
        else:
            self._free(connection)

    def _free(self, connection: _Connection) -> None:
        """For the one who has waited longest, or for whoever comes next."""
        if self._waiting:
            connection.beat = self._waiting.popleft()
            self._write(connection)
        else:
            self._idle.append(connection)

    def _answered(self, connection: _Connection, status: int, head: bytes) -> float:
        """For how many seconds the answer asks to wait."""
        beat, connection.beat = connection.beat, None
        at = head.find(b"retry-after: ") if status in SHED else -1
        after_s = float(head[at + 13 :].partition(b"\r")[0]) if at >= 0 else 0.0
        if beat is None or beat.intended < self._begun:
            return after_s  # of the stage before
        now = time.monotonic()
        took_ms = (now - beat.intended) * 1000
        self._statuses[str(status)] += 1
        if status == 200:
            self._latencies.append(took_ms)
            self._services.append((now - beat.sent) * 1000)
            self._outcome.heard_s = now - self._begun
        elif status in SHED:
            self._sheds.append((now - beat.sent) * 1000)
            if at < 0:
                self._outcome.mute += 1
            elif self._stage.until == "heard":
                # A second's fraction of its own, as the clocks of devices have it.
                heapq.heappush(self._later, (now + after_s + self._random.random(), beat.device))
        if status != 200 or took_ms > self._order.slow_ms:
            self._outcome.bad_until_s = max(self._outcome.bad_until_s, beat.intended - self._begun)
        return after_s

    def _lose(self, connection: _Connection) -> None:
        beat, connection.beat = connection.beat, None
        self._close(connection)
        if beat is None or beat.intended < self._begun:
            return
        self._outcome.lost += 1
        self._outcome.bad_until_s = max(self._outcome.bad_until_s, beat.intended - self._begun)
        if self._stage.until == "heard":
            heapq.heappush(self._later, (time.monotonic() + 1 + self._random.random(), beat.device))

    def _close(self, connection: _Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
        del self._open[connection.sock.fileno()]
        connection.sock.close()

    def _sweep(self, now: float) -> None:
        """Who has waited for too long gives up."""
        oldest = now - self._order.timeout_s
        for connection in [c for c in self._open.values() if c.beat is not None and c.beat.intended < oldest]:
            self._lose(connection)
        while self._waiting and self._waiting[0].intended < oldest:
            beat = self._waiting.popleft()
            if self._stage.until == "heard":
                self._send(_Beat(now, beat.device))
                continue
            self._outcome.gave_up += 1
            self._outcome.bad_until_s = max(self._outcome.bad_until_s, beat.intended - self._begun)

    def _concluded(self, lags: list[float], cpu_s: float) -> Outcome:
        outcome, took_s = self._outcome, time.monotonic() - self._begun
        outcome.gave_up += len(self._waiting)
        self._waiting.clear()
        self._later.clear()
        outcome.connections = max(outcome.connections, len(self._open))
        outcome.statuses = dict(self._statuses)
        outcome.per_s = round(outcome.answered / took_s, 1)
        if self._latencies:
            outcome.p50_ms, outcome.p99_ms = (round(percentile(self._latencies, q), 2) for q in (0.5, 0.99))
            outcome.slowest_ms = round(max(self._latencies), 2)
            outcome.service_p99_ms = round(percentile(self._services, 0.99), 2)
        if self._sheds:
            outcome.shed_p99_ms = round(percentile(self._sheds, 0.99), 2)
        outcome.lag_p99_ms = round(percentile(lags, 0.99), 2) if lags else 0.0
        outcome.cpu = round(cpu_s / took_s, 2)
        return outcome


def _main(folder: Path) -> None:
    given: dict[str, Any] = json.loads((folder / "order.json").read_text(encoding="utf-8"))
    order = Order(**{**given, "stages": [Stage(**stage) for stage in given["stages"]]})
    if order.cpu is not None:
        os.sched_setaffinity(0, {order.cpu})
    allow_descriptors()
    loop = _Flood(order)
    outcomes = [asdict(loop.run(stage)) for stage in order.stages]
    (folder / "outcomes.json").write_text(json.dumps(outcomes), encoding="utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
