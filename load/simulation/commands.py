"""Pings to devices, their way over FCM, and the devices' answers. It judges nothing of it.

With the fake FCM's control at hand a device answers when its message is in the inbox, as a phone would. Without it the
device is told directly (seed 000 B.4), and the run says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gevent
from gevent.pool import Group

from harness.devices.device import Device
from harness.fcm.server import FcmError
from harness.http.client import Answer, Client, TransportError
from load.measurements.samples import Sample
from load.simulation.fcm_delivery import Delivery, Messages, awaited
from load.simulation.run import COMMAND, RESULT, SimulatedDevice, SimulationRun

_REPEAT_AFTER_S = 0.3


class Timed(Protocol):
    """Makes one call of a device and records it."""

    def __call__(
        self, kind: str, device: SimulatedDevice, call: Callable[[Device], Answer], intended: float | None = None
    ) -> Answer | None: ...


class Commands:
    """Commands these devices once; `wait` returns whether all have reported. delivery: None: there is no FCM."""

    def __init__(
        self,
        run: SimulationRun,
        devices: Sequence[SimulatedDevice],
        client: Client,
        delivery: Delivery | None,
        greenlets: Group,
        timed: Timed,
    ) -> None:
        self._run, self._client, self._timed = run, client, timed
        self._devices, self._delivery, self._greenlets = devices, delivery, greenlets
        self._messages: Messages = {}
        self._following: list[Any] = []
        self._carrier: Any = None

    def one_by_one(self) -> None:
        """One signed /admin/command per device, one after the other; each device is followed in its own greenlet."""
        self._begin()
        for number, device in enumerate(self._devices):
            request_id = f"{self._run.tag}-{device.alias.partition('-')[0]}"
            self._command(device.alias, {"device_id": device.device_id}, [device], request_id)
            if device.command_id is not None:
                self._follow(device, number)

    def at_once(self, request_id: str) -> None:
        """One signed /admin/command to all devices. Their messages may be there before its answer is."""
        self._begin()
        for number, device in enumerate(self._devices):
            self._follow(device, number)
        addressed = {"request_id": request_id, "device_ids": [device.device_id for device in self._devices]}
        self._command(request_id, addressed, self._devices, request_id)

    def wait(self, within_s: float) -> bool:
        gevent.joinall(self._following, timeout=within_s)
        if self._carrier is not None:
            self._carrier.kill()
        return all(greenlet.ready() for greenlet in self._following)

    def _begin(self) -> None:
        if self._delivery is not None:
            self._messages = awaited(device.client.fcm_token for device in self._devices if device.client)
            self._carrier = self._greenlets.spawn(self._carry, self._delivery)

    def _carry(self, delivery: Delivery) -> None:
        try:
            delivery.carry(self._messages)
        except (FcmError, OSError) as error:
            self._run.doubts.append(f"the fake FCM cannot be read: {error}")

    def _command(
        self, label: str, addressed: dict[str, Any], devices: Sequence[SimulatedDevice], request_id: str
    ) -> None:
        """Send it, and note for each device the id of its dispatch."""
        sent = self._run.clock.now()
        status, error = 0, ""
        try:
            answer = self._client.command({**addressed, "action": "ping"}, request_id=request_id)
            status = answer.status
            if status == 200:
                dispatches = {item["device_id"]: str(item["request_id"]) for item in answer.json()["dispatches"]}
                for device in devices:
                    device.command_id = dispatches.get(device.device_id)
        except TransportError as lost:
            error = str(lost)
        except (ValueError, LookupError, TypeError) as malformed:
            error = f"malformed: {malformed!r}"
        answered = self._run.clock.now()
        self._run.samples.add(Sample(COMMAND, label, sent, sent, answered, status, None, error))
        for device in devices:
            if device.client is not None and device.command_id is not None:
                device.client.note("command", answered, request_id=device.command_id)
        if any(device.command_id is None for device in devices):
            self._run.refused(f"{label}: command got {status or 'no answer'} {error}".strip())

    def _follow(self, device: SimulatedDevice, number: int) -> None:
        rng = random.Random(f"{self._run.seed}/answer/{number}")
        self._following.append(self._greenlets.spawn(self._answer, device, rng))

    def _answer(self, device: SimulatedDevice, rng: random.Random) -> None:
        """The device's part: wait for the message, take a moment, report; some report once more."""
        client, command_id = device.client, device.command_id
        assert client is not None
        if self._delivery is not None:
            message = self._messages[client.fcm_token]
            if not message.wait(timeout=self._run.scenario.message_within_s):
                self._run.refused(f"{device.alias}: no message within {self._run.scenario.message_within_s:g} s")
                return
            attempt = message.get()
            assert attempt is not None
            command_id = str(attempt["data"]["request_id"])
            client.note("message", float(attempt["at"]), request_id=command_id)
        assert command_id is not None
        wait_s = rng.uniform(*self._run.scenario.answer_after_s)
        due = self._run.clock.now() + wait_s
        gevent.sleep(wait_s)
        self._report(device, command_id, wait_s, due)
        if device.repeats_result:
            gevent.sleep(_REPEAT_AFTER_S)
            self._report(device, command_id, wait_s)

    def _report(self, device: SimulatedDevice, command_id: str, wait_s: float, due: float | None = None) -> None:
        data = {"answered_after_ms": round(wait_s * 1000)}
        answer = self._timed(RESULT, device, lambda d: d.complete(command_id, message="pong", data=data), due)
        if answer is not None and answer.status == 200:
            device.results.append(answer.json())
