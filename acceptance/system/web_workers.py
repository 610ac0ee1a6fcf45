"""Which web worker answers: cases about several of them must reach each one for certain.

Does not trust the kernel to spread connections: a burst of them often lands on a single worker.
"""

import itertools
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from acceptance.system.api import Api
from acceptance.system.concurrency import at_once
from acceptance.system.system import System
from harness.http.client import Answer, HttpxTransport

T = TypeVar("T")

CONNECTIONS = 20  # as many as an httpx client keeps open


def web_processes(system: System) -> list[int]:
    """The process ids of the live web workers, from their own log lines."""
    lines = system.logs.tap.since(0)
    ended = {line["pid"] for line in lines if line["event"] == "service.stop"}
    started = [line["pid"] for line in lines if line["event"] == "service.start" and line["role"] == "web"]
    return [pid for pid in started if pid not in ended]


@contextmanager
def only(system: System, pid: int) -> Iterator[Api]:
    """The client on new connections while every web worker but one is frozen: that one has to answer."""
    others = [one for one in web_processes(system) if one != pid]
    for other in others:
        os.kill(other, signal.SIGSTOP)
    try:
        system.api.reconnect()
        yield system.api
    finally:
        for other in others:
            with suppress(ProcessLookupError):
                os.kill(other, signal.SIGCONT)


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


@contextmanager
def both(system: System) -> Iterator[None]:
    """The requests of the block go to the web workers in turn, on connections that each has accepted before."""
    lanes = []
    for pid in web_processes(system):
        with only(system, pid):
            lanes.append(HttpxTransport(system.target.base_url))
            at_once([partial(lanes[-1].send, "GET", "/healthz")] * CONNECTIONS)
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
