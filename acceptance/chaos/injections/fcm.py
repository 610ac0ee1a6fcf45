"""Faults of FCM and on the way to it. Does not fake FCM: harness/fcm/server.py does, by its scripts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from acceptance.chaos.experiment import Fault, Scene
from acceptance.chaos.injections.backend import kill_dispatcher
from acceptance.chaos.operations import new_request_id
from harness.waiting import eventually

FANOUT = 20


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
