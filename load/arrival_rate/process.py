"""The sending process, from the side of a greenlet that orders a leg and waits for its tally. It plans nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from signal import SIGTERM
from typing import Any

from gevent import Timeout, socket

from harness.processes.child import Child, bare_environment, python_module
from load.arrival_rate.schedule import Leg
from load.arrival_rate.sender import CONFIG, LEG, PROGRESS, TALLY, Channel, OtherSideGoneError
from load.arrival_rate.workload import WorkerConfig

_ENDS_WITHIN_S = 2.0
_GONE = "the sending process is gone; what ended it stands on stderr"


class SenderLost(Exception):
    """The process is gone. The message is for people."""


class Sender:
    """Waiting for it lets other greenlets run."""

    def __init__(self, config: WorkerConfig) -> None:
        """Start it; returns when it is ready. SenderLost."""
        self._sock, theirs = socket.socketpair()
        with theirs:
            argv, env = python_module("load.arrival_rate.sender")
            self._child = Child(argv, env=bare_environment(env), stdin=theirs.fileno())
        self._channel = Channel(self._sock)
        try:
            self._send(CONFIG, config.to_dict())
            self._receive()
        except BaseException:
            self.stop()
            raise

    def run(self, leg: Leg, progress: Callable[[Mapping[str, int]], None]) -> dict[str, Any]:
        """Send a leg; returns the document of its tally. `progress` hears of it about every second. SenderLost."""
        self._send(LEG, leg.to_dict())
        return self._tally(progress)

    def cut_short(self) -> dict[str, Any] | None:
        """End the leg, whose `run` was killed, and return its tally; None: the process does not tell it."""
        self._child.send(SIGTERM)
        try:
            with Timeout(_ENDS_WITHIN_S):
                return self._tally(lambda _: None)
        except (Timeout, SenderLost):
            return None

    def stop(self) -> None:
        """End it."""
        self._sock.close()
        self._child.stop(_ENDS_WITHIN_S)

    def _tally(self, progress: Callable[[Mapping[str, int]], None]) -> dict[str, Any]:
        while True:
            what, data = self._receive()
            if what == TALLY:
                return dict(data)
            if what == PROGRESS:
                progress(data)

    def _send(self, what: str, data: Any) -> None:
        try:
            self._channel.send(what, data)
        except OtherSideGoneError:
            raise SenderLost(_GONE) from None

    def _receive(self) -> tuple[str, Any]:
        try:
            return self._channel.receive()
        except OtherSideGoneError:
            raise SenderLost(_GONE) from None
