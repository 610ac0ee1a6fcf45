"""The faults: each is a context manager that hurts on entry, lets the traffic meet it, and heals on exit.

Does not measure or judge: scene.py does. What is healed by an operator in real life is healed here; what must get over
it by itself is left alone.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg

from acceptance.chaos.scene import Scene
from acceptance.chaos.writes import new_request_id
from acceptance.system import new_alias
from harness.backend import Backend
from harness.fleet import FleetDevice
from harness.moved_clock import MovedClock
from harness.postgres import Postgres
from harness.small_disk import SmallDisk
from harness.waiting import eventually

Fault = Callable[[Scene], AbstractContextManager[None]]
FROZEN_S = 10.0
FANOUT = 20


# --- the backend ---------------------------------------------------------------------------------------------------


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
            scene.goes_on("heartbeat", "command", "token")
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


# --- PostgreSQL ----------------------------------------------------------------------------------------------------


@contextmanager
def postgres_killed(scene: Scene) -> Iterator[None]:
    """kill -9 of every process, and a start on the same data: crash recovery."""
    postgres = scene.system.running.postgres
    scene.system.db.close()
    postgres.kill()
    try:
        scene.met()
        yield
    finally:
        postgres.restart()


@contextmanager
def postgres_frozen(scene: Scene) -> Iterator[None]:
    """Every process stopped: connections hang, none is refused."""
    postgres = scene.system.running.postgres
    until = time.monotonic() + FROZEN_S
    postgres.pause()
    try:
        scene.met()
        eventually(lambda: time.monotonic() >= until, FROZEN_S + 1, what="the end of the frost")
        yield
    finally:
        postgres.resume()


@contextmanager
def connections_cut(scene: Scene) -> Iterator[None]:
    """Every session of the database ended by an administrator; new ones are welcome."""
    with psycopg.connect(scene.system.running.postgres.admin_url, autocommit=True) as admin:
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
            (scene.system.running.database,),
        )
    yield


@contextmanager
def pool_exhausted(scene: Scene) -> Iterator[None]:
    """Tables that writers wait for until their connections are all taken; known devices' heartbeats have their own."""
    known = scene.spare[0]
    scene.writes.beat(known)
    with psycopg.connect(scene.system.target.database_url or "") as owner:
        owner.execute("lock table commands, enrollment_tokens, apk_versions in share mode")
        scene.met(4, within_s=40.0)
        assert scene.writes.beat(known) is not None, "a heartbeat waits for others' connections"
        yield
        owner.rollback()


def disk_full(disk: SmallDisk, postgres: Postgres) -> Fault:
    """Not a block is free. When there are some again, an operator starts a server that has given up; nothing else."""

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        scene.system.db.close()
        disk.fill()
        try:
            scene.met(10, within_s=30.0)
            yield
        finally:
            disk.relieve()
            if not postgres.running:
                postgres.restart()

    return fault


def clock_moved(clock: MovedClock, midnight: float) -> Fault:
    """The database's clock passes midnight (UTC), and is then set back to the day before, as after a fail-over.

    midnight: a moment in epoch seconds that lies ahead, by less than enrolment tokens live.
    """

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        clock.move(midnight - 3.0 - clock.now())
        eventually(lambda: clock.now() > midnight + 2.0, within_s=10.0)
        scene.goes_on("heartbeat", "command", "result")
        alias = new_alias()
        token = scene.writes.token(alias)["tokens"][0]["token"]
        made = scene.writes.register(alias, token)
        device = FleetDevice(made["device_id"], alias, made["device_token"], f"chaos:{alias}")
        clock.move(-20.0)
        scene.goes_on("heartbeat", "token")
        # Now the device was registered in the future.
        scene.writes.beat(device, agent_version="1.4.3")
        scene.writes.retire(device.device_id)
        yield

    return fault


# --- FCM -----------------------------------------------------------------------------------------------------------


@contextmanager
def fcm_down(scene: Scene) -> Iterator[None]:
    """Connections are refused."""
    scene.system.running.fcm.kill()
    try:
        scene.goes_on("command")
        yield
    finally:
        scene.system.running.fcm.restart()


def fcm_answers(**answer: Any) -> Fault:
    """FCM answers every message like this (harness.fcm.FcmControl.script); commands must be accepted meanwhile."""
    return _scripted([{**answer, "times": 0}])


def _scripted(answers: Sequence[Mapping[str, Any]]) -> Fault:
    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        scene.system.fcm.script([dict(answer) for answer in answers])
        scene.goes_on("command", writes=15)
        yield
        scene.system.fcm.script([])

    return fault


def half_unregistered(fanouts: list[str]) -> Fault:
    """A command to devices of which every other has lost the app. fanouts: the request_ids of these commands."""

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        devices = [scene.spare.pop() for _ in range(FANOUT)]
        for device in devices[::2]:
            scene.system.fcm.script([{"error_code": "UNREGISTERED", "times": 0}], token=device.fcm_token)
        fanouts.append(new_request_id())
        assert scene.writes.command(devices, fanouts[-1]) is not None
        scene.goes_on("result", writes=10)
        yield

    return fault


@contextmanager
def token_endpoint_down(scene: Scene) -> Iterator[None]:
    """No access token is to be had, for a dispatcher that has just begun and so has none."""
    scene.system.fcm.script_oauth([{"status": 503, "times": 0}])
    kill_dispatcher(scene)
    scene.goes_on("command", writes=15)
    yield
    scene.system.fcm.script_oauth([])


def killed_before_the_record(sent_again: list[str]) -> Fault:
    """FCM has taken a message, and its dispatcher is killed while it waits to record that. sent_again: which message.

    A lock on the row makes it certain: the record cannot be written, and goes with the session of the killed process.
    """

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        system, device, request_id = scene.system, scene.spare.pop(), new_request_id()
        system.fcm.script([{"status": 200, "delay_s": 2.0}], token=device.fcm_token)
        assert scene.writes.command([device], request_id) is not None
        sending = "select status = 'sending' from fcm_dispatches where request_id = %s"
        eventually(lambda: system.db.value(sending, request_id), within_s=10.0)
        with psycopg.connect(system.target.database_url or "") as owner:
            owner.execute("select from fcm_dispatches where request_id = %s for update", (request_id,))
            assert system.db.value(sending, request_id), "recorded before it could be locked"
            waits = "select count(*) from pg_stat_activity where %s = any(pg_blocking_pids(pid))"
            eventually(lambda: system.db.value(waits, owner.info.backend_pid) == 1, within_s=10.0)
            taken = system.fcm.inbox(device.fcm_token)
            assert [one["status"] for one in taken] == [200], "FCM has it"
            kill_dispatcher(scene)
            owner.rollback()
        sent_again.append(device.fcm_token)
        yield

    return fault


# --- the background ------------------------------------------------------------------------------------------------


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


def kill_dispatcher(scene: Scene) -> None:
    """SIGKILL to the background process; the supervisor starts another."""
    lines = scene.system.logs.tap.since(0)
    started = [line["pid"] for line in lines if line["event"] == "service.start" and line["role"] == "background"]
    ended = {line["pid"] for line in lines if line["event"] == "service.stop"}
    [victim] = [pid for pid in started if pid not in ended]
    os.kill(victim, signal.SIGKILL)
