"""A ping to every device, its way over FCM, and the device's answer. It deliberately judges nothing of it.

With the fake FCM's control at hand a device answers when its message is in the inbox, as a phone would. Without it the
device is told directly (seed 000 B.4), and the run says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

import gevent
from gevent.event import AsyncResult
from gevent.pool import Group

from harness.client import Answer, Client, TransportError
from harness.device import Device
from harness.fcm import FcmControl, FcmError
from load.clock import ServerClock
from load.recorder import Sample
from load.seats import Run, Seat

_POLL_S = 0.5
_REPEAT_AFTER_S = 0.3


class Timed(Protocol):
    """Makes one call of a device and records it."""

    def __call__(self, kind: str, seat: Seat, call: Callable[[Device], Answer]) -> Answer | None: ...


class Fanout:
    """Commands all seats of a run once. `wait` returns whether every device has reported."""

    def __init__(
        self, run: Run, client: Client, clock: ServerClock, fcm_url: str | None, greenlets: Group, timed: Timed
    ) -> None:
        self._run, self._client, self._clock, self._timed = run, client, clock, timed
        self._greenlets = greenlets
        self._fcm = FcmControl(fcm_url) if fcm_url else None
        self._messages: dict[str, AsyncResult[dict[str, Any]]] = {}
        self._following: list[Any] = []

    def command_all(self) -> None:
        """One signed /admin/command per device, one after the other; each device is followed in its own greenlet."""
        self._run.enter("commanding", self._clock.now())
        seats = [seat for seat in self._run.seats if seat.registered and seat.device]
        if self._fcm is not None:
            self._messages = {seat.device.fcm_token: AsyncResult() for seat in seats if seat.device}
            self._greenlets.spawn(self._deliver, self._fcm)
        for number, seat in enumerate(seats):
            self._command(seat)
            if seat.command_id is not None:
                rng = random.Random(f"{self._run.seed}/answer/{number}")
                self._following.append(self._greenlets.spawn(self._follow, seat, rng))
        self._run.enter("beating", self._clock.now())

    def wait(self, within_s: float) -> bool:
        gevent.joinall(self._following, timeout=within_s)
        return all(greenlet.ready() for greenlet in self._following)

    def _command(self, seat: Seat) -> None:
        sent = self._clock.now()
        status, error = 0, ""
        try:
            body = {"device_id": seat.device_id, "action": "ping"}
            answer = self._client.command(body, request_id=f"{self._run.tag}-{seat.alias.partition('-')[0]}")
            status = answer.status
            if status == 200:
                seat.command_id = str(answer.json()["dispatches"][0]["request_id"])
        except TransportError as lost:
            error = str(lost)
        answered = self._clock.now()
        self._run.recorder.add(Sample("command", seat.alias, sent, sent, answered, status, None, error))
        if seat.command_id is None:
            self._run.refused(f"{seat.alias}: command got {status or 'no answer'} {error}".strip())
        elif seat.device is not None:
            seat.device.note("command", answered, request_id=seat.command_id)

    def _deliver(self, fcm: FcmControl) -> None:
        """What FCM does: hand each message to the device whose token it bears. Ends when each device has one."""
        after = 0
        while not all(message.ready() for message in self._messages.values()):
            try:
                attempts = fcm.inbox(after=after, wait_s=_POLL_S)
            except (FcmError, OSError) as error:
                self._run.doubts.append(f"the fake FCM cannot be read: {error}")
                return
            for attempt in attempts:
                after = max(after, int(attempt["seq"]))
                message = self._messages.get(attempt["token"])
                if message is not None and attempt["message_id"] is not None and not message.ready():
                    message.set(attempt)

    def _follow(self, seat: Seat, rng: random.Random) -> None:
        """The device's part: wait for the message, take a moment, report; some report once more."""
        device, command_id = seat.device, seat.command_id
        assert device is not None
        assert command_id is not None
        if self._fcm is not None:
            message = self._messages[device.fcm_token]
            if not message.wait(timeout=self._run.profile.message_within_s):
                self._run.refused(f"{seat.alias}: no message within {self._run.profile.message_within_s:g} s")
                return
            attempt = message.get()
            assert attempt is not None
            command_id = str(attempt["data"]["request_id"])
            device.note("message", float(attempt["at"]), request_id=command_id)
        wait_s = rng.uniform(*self._run.profile.answer_after_s)
        gevent.sleep(wait_s)
        self._report(seat, command_id, wait_s)
        if seat.repeats_result:
            gevent.sleep(_REPEAT_AFTER_S)
            self._report(seat, command_id, wait_s)

    def _report(self, seat: Seat, command_id: str, wait_s: float) -> None:
        data = {"answered_after_ms": round(wait_s * 1000)}
        answer = self._timed("result", seat, lambda d: d.complete(command_id, message="pong", data=data))
        if answer is not None and answer.status == 200:
            seat.results.append(answer.json())
