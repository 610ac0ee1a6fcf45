"""What should be no fault: a second of everything in the background, and a schema that changes. It hurts nobody."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from acceptance.chaos.experiment import Fault, Scene
from harness.stack.backend import Backend
from harness.waiting import eventually


def second_worker(meanwhile: Callable[[Scene], None]) -> Fault:
    """`nexmdm worker` beside the background process of `serve`, for as long as something else takes."""

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        stack, logs = scene.system.running, scene.system.logs
        mark = logs.tap.mark()
        worker = Backend([stack.command, "worker"], stack.env, stack.logs.path).start()
        try:
            logs.tap.wait_for("service.start", since=mark, within_s=20.0, role="background")
            meanwhile(scene)
            yield
        finally:
            assert worker.stop() == 0

    return fault


def fcm_takes_its_time(scene: Scene) -> None:
    """Long enough for a second dispatcher to find a message that the first has not done with."""
    scene.system.fcm.script([{"status": 200, "delay_s": 0.4, "times": 0}])
    scene.goes_on("result", writes=30, within_s=40.0)
    scene.system.fcm.script([])


def five_periods(every_s: float) -> Callable[[Scene], None]:
    """As long as retention is due five times."""

    def wait(_: Scene) -> None:
        until = time.monotonic() + 5 * every_s
        eventually(lambda: time.monotonic() >= until, 6 * every_s, what="five periods")

    return wait


@contextmanager
def migrated_again(scene: Scene) -> Iterator[None]:
    """The newest revision down and up, by the owner, beside a server that knows both."""
    stack = scene.system.running
    for to in ("-1", "head"):
        code, said = stack.run("migrate", "--to", to, env=stack.owner)
        assert code == 0, said
        scene.goes_on("heartbeat", "command", "token")
    yield
