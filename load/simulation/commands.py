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
from load.measurements.run import Run, Seat
from load.measurements.samples import COMMAND, RESULT, Sample
from load.measurements.server_clock import ServerClock
from load.simulation.fcm_delivery import Delivery, Messages, awaited

_REPEAT_AFTER_S = 0.3


class Timed(Protocol):
    """Makes one call of a device and records it."""

    def __call__(
        self, kind: str, seat: Seat, call: Callable[[Device], Answer], intended: float | None = None
    ) -> Answer | None: ...


class Commands:
    """Commands these seats once. `wait` returns whether every device has reported. delivery: None: there is no FCM."""

    def __init__(
        self,
        run: Run,
        seats: Sequence[Seat],
        client: Client,
        clock: ServerClock,
        delivery: Delivery | None,
        greenlets: Group,
        timed: Timed,
    ) -> None:
        self._run, self._client, self._clock, self._timed = run, client, clock, timed
        self._seats, self._delivery, self._greenlets = seats, delivery, greenlets
        self._messages: Messages = {}
        self._following: list[Any] = []
        self._carrier: Any = None

    def one_by_one(self) -> None:
        """One signed /admin/command per device, one after the other; each device is followed in its own greenlet."""
        self._begin()
        for number, seat in enumerate(self._seats):
            request_id = f"{self._run.tag}-{seat.alias.partition('-')[0]}"
            self._command(seat.alias, {"device_id": seat.device_id}, [seat], request_id)
            if seat.command_id is not None:
                self._follow(seat, number)

    def at_once(self, request_id: str) -> None:
        """One signed /admin/command to all devices. Their messages may be there before its answer is."""
        self._begin()
        for number, seat in enumerate(self._seats):
            self._follow(seat, number)
        addressed = {"request_id": request_id, "device_ids": [seat.device_id for seat in self._seats]}
        self._command(request_id, addressed, self._seats, request_id)

    def wait(self, within_s: float) -> bool:
        gevent.joinall(self._following, timeout=within_s)
        if self._carrier is not None:
            self._carrier.kill()
        return all(greenlet.ready() for greenlet in self._following)

    def _begin(self) -> None:
        if self._delivery is not None:
            self._messages = awaited(seat.device.fcm_token for seat in self._seats if seat.device)
            self._carrier = self._greenlets.spawn(self._carry, self._delivery)

    def _carry(self, delivery: Delivery) -> None:
        try:
            delivery.carry(self._messages)
        except (FcmError, OSError) as error:
            self._run.doubts.append(f"the fake FCM cannot be read: {error}")

    def _command(self, label: str, addressed: dict[str, Any], seats: Sequence[Seat], request_id: str) -> None:
        """Send it, and note for each seat the id of its dispatch."""
        sent = self._clock.now()
        status, error = 0, ""
        try:
            answer = self._client.command({**addressed, "action": "ping"}, request_id=request_id)
            status = answer.status
            if status == 200:
                dispatches = {item["device_id"]: str(item["request_id"]) for item in answer.json()["dispatches"]}
                for seat in seats:
                    seat.command_id = dispatches.get(seat.device_id)
        except TransportError as lost:
            error = str(lost)
        except (ValueError, LookupError, TypeError) as malformed:
            error = f"malformed: {malformed!r}"
        answered = self._clock.now()
        self._run.recorder.add(Sample(COMMAND, label, sent, sent, answered, status, None, error))
        for seat in seats:
            if seat.device is not None and seat.command_id is not None:
                seat.device.note("command", answered, request_id=seat.command_id)
        if any(seat.command_id is None for seat in seats):
            self._run.refused(f"{label}: command got {status or 'no answer'} {error}".strip())

    def _follow(self, seat: Seat, number: int) -> None:
        rng = random.Random(f"{self._run.seed}/answer/{number}")
        self._following.append(self._greenlets.spawn(self._answer, seat, rng))

    def _answer(self, seat: Seat, rng: random.Random) -> None:
        """The device's part: wait for the message, take a moment, report; some report once more."""
        device, command_id = seat.device, seat.command_id
        assert device is not None
        if self._delivery is not None:
            message = self._messages[device.fcm_token]
            if not message.wait(timeout=self._run.profile.message_within_s):
                self._run.refused(f"{seat.alias}: no message within {self._run.profile.message_within_s:g} s")
                return
            attempt = message.get()
            assert attempt is not None
            command_id = str(attempt["data"]["request_id"])
            device.note("message", float(attempt["at"]), request_id=command_id)
        assert command_id is not None
        wait_s = rng.uniform(*self._run.profile.answer_after_s)
        due = self._clock.now() + wait_s
        gevent.sleep(wait_s)
        self._report(seat, command_id, wait_s, due)
        if seat.repeats_result:
            gevent.sleep(_REPEAT_AFTER_S)
            self._report(seat, command_id, wait_s)

    def _report(self, seat: Seat, command_id: str, wait_s: float, due: float | None = None) -> None:
        data = {"answered_after_ms": round(wait_s * 1000)}
        answer = self._timed(RESULT, seat, lambda d: d.complete(command_id, message="pong", data=data), due)
        if answer is not None and answer.status == 200:
            seat.results.append(answer.json())
