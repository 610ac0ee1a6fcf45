"""Which web worker answers: cases about several of them must reach each one for certain.

Does not trust the kernel to spread connections: a burst of them often lands on a single worker.
"""

import itertools
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import httpx
import psutil

from acceptance.system.api import Api
from acceptance.system.concurrency import at_once
from acceptance.system.system import System
from harness.http.client import Answer, HttpxTransport
from harness.waiting import eventually

T = TypeVar("T")

CONNECTIONS = 20  # as many as an httpx client keeps open


def web_processes(system: System) -> list[int]:
    """The process ids of the live web workers, from their own log lines."""
    return _live(system, "web")


def background_process(system: System) -> int:
    """The process id of the one that runs the jobs and sends the messages."""
    [pid] = _live(system, "background")
    return pid


def _live(system: System, role: str) -> list[int]:
    lines = system.logs.tap.since(0)
    ended = {line["pid"] for line in lines if line["event"] == "service.stop"}
    started = [line["pid"] for line in lines if line["event"] == "service.start" and line["role"] == role]
    return [pid for pid in started if pid not in ended]


def kill(system: System, pid: int) -> None:
    """kill -9 of a process that has logged what it owes: an access line is written after its answer."""
    system.check_log()
    os.kill(pid, signal.SIGKILL)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The process does nothing during the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def only(system: System, pid: int) -> Iterator[Api]:
    """The client on new connections while every web worker but one is frozen: that one has to answer."""
    with ExitStack() as others:
        for other in web_processes(system):
            if other != pid:
                others.enter_context(frozen(other))
        system.api.reconnect()
        yield system.api


class _Alternating(HttpxTransport):
    """Sends each request through the next of several transports."""

    def __init__(self, lanes: list[HttpxTransport]) -> None:  # no connection of its own
        self._lanes = lanes
        self._next = itertools.cycle(lanes)

    def send(self, method: str, path: str, **request: Any) -> Answer:
        return next(self._next).send(method, path, **request)

    def close(self) -> None:
        for lane in self._lanes:
            lane.close()


def _connections(system: System) -> int:
    """How many connections of this process to the service are open."""
    port = httpx.URL(system.target.base_url).port
    mine = psutil.Process().net_connections("tcp")
    return sum(bool(one.raddr) and one.raddr.port == port and one.status == "ESTABLISHED" for one in mine)


@contextmanager
def both(system: System) -> Iterator[None]:
    """The requests of the block go to the web workers in turn, on connections that each has accepted before."""
    lanes: list[HttpxTransport] = []
    for pid in web_processes(system):
        lane = HttpxTransport(system.target.base_url)
        with only(system, pid), ThreadPoolExecutor(1) as pool:
            # It answers when all are connected: a request on a connection that is free again would open none.
            with frozen(pid):
                begun = pool.submit(at_once, [partial(lane.send, "GET", "/healthz")] * CONNECTIONS)
                lanes.append(lane)
                eventually(lambda: _connections(system) >= CONNECTIONS * len(lanes), 5.0, what="a connection for each")
            begun.result()
    system.api.transport.close()
    system.api.transport = _Alternating(lanes)
    try:
        yield
    finally:
        system.api.reconnect()


def race(system: System, calls: Sequence[Callable[[], T]]) -> list[T]:
    """What each call returns, in order; all begin together, spread evenly over the web workers."""
    with both(system):
        return at_once(calls)
