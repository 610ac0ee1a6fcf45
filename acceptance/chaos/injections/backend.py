"""Faults of the backend's processes: killed, killed in part, ended. Does not touch what they stand on."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from acceptance.chaos.experiment import Fault, Scene
from harness.stack.backend import Backend


@contextmanager
def backend_killed(scene: Scene) -> Iterator[None]:
    """All its processes at once, as a container dies; whoever supervises it starts it again."""
    backend = scene.system.running.backend
    backend.kill(group=True)
    try:
        scene.met(1)
        yield
    finally:
        backend.start()


def replica_killed() -> Fault:
    """One replica after the other, while the rest goes on."""
    turns = 0

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        nonlocal turns
        replicas = scene.system.running.backends
        victim = replicas[turns % len(replicas)]
        turns += 1
        victim.kill(group=True)
        try:
            scene.goes_on("heartbeat", "command", "token", "allocation", "release")
            yield
        finally:
            victim.start().wait_ready()

    return fault


@contextmanager
def sigterm(scene: Scene, ends: list[tuple[int | None, float]]) -> Iterator[None]:
    """Ended as an update ends it, and started again. ends: the exit codes, and how long each end took."""
    backend: Backend = scene.system.running.backend
    begun = time.monotonic()
    ends.append((backend.stop(), time.monotonic() - begun))
    yield
    backend.start()


def kill_dispatcher(scene: Scene) -> None:
    """SIGKILL to the background process; the supervisor starts another."""
    lines = scene.system.logs.tap.since(0)
    started = [line["pid"] for line in lines if line["event"] == "service.start" and line["role"] == "background"]
    ended = {line["pid"] for line in lines if line["event"] == "service.stop"}
    [victim] = [pid for pid in started if pid not in ended]
    os.kill(victim, signal.SIGKILL)
