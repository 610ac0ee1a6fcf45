"""The simulation of a small fleet, seed 000 B and 001: enrol, beat, be commanded, answer. It judges nothing."""

from __future__ import annotations

import random
from functools import partial

import gevent
from gevent.event import AsyncResult

from harness.devices.device import Device
from harness.http.client import Transport, TransportError
from harness.settings import Target
from harness.verdict.cpu_contention import Strangers
from load.measurements.observations import Collector
from load.measurements.run import Seat
from load.measurements.samples import DUPLICATE, HEARTBEAT, Sample
from load.simulation import setup
from load.simulation.commands import Commands
from load.simulation.engine import SETTING_UP_WITHIN_S, Engine, tell
from load.simulation.fcm_delivery import Delivery
from load.verdict.simulation_thresholds import YARDSTICK
from load.workloads.schedule import Beat, plan
from load.workloads.simulation import Profile


class Simulation(Engine):
    """Devices that enrol at once and then keep their schedule."""

    yardstick = YARDSTICK

    def __init__(self, profile: Profile, target: Target, admin: Transport, seed: int | None = None) -> None:
        super().__init__(profile, target, admin, seed)
        self.profile = profile
        self.collector = Collector(self.run, target, self.client)
        self._stream: AsyncResult[float | None] = AsyncResult()

    def equip(self) -> str:
        """Everything that the admin does beforehand."""
        setup.prepare(self.run, self.profile, self.client)
        return f"{len(self.run.seats)} tokens"

    def live(self, number: int, transport: Transport) -> None:
        """One device, from the APK to the answer of its last heartbeat."""
        self.prepared.wait()
        if not self.ready:
            return
        seat = self.run.seats[number]
        try:
            try:
                with self.entrance:
                    self._enrol(seat, transport, random.Random(f"{self.run.seed}/facts/{number}"))
            finally:
                self.settled["ready"] += 1
            start = self._stream.get()
            if start is not None and seat.registered:
                beats = [self.greenlets.spawn(self._beat, seat, beat) for beat in seat.beats]
                gevent.joinall(beats)
        except Exception as error:  # noqa: BLE001  # a bug of the harness must not look like a quiet device
            self.run.doubts.append(f"{seat.alias}: the harness broke: {tell(error)}")
        finally:
            self.settled["done"] += 1

    def _enrol(self, seat: Seat, transport: Transport, rng: random.Random) -> None:
        seat.device = Device(transport, seat.alias, rng=rng, clock=self.clock.now)
        apk = self.timed(
            "apk", seat, lambda d: d.download_apk(seat.enrolment_token, package_name=self.run.package_name)
        )
        seat.apk_fetched = apk is not None and apk.status == 200 and apk.body == self.run.apk
        answer = self.timed("register", seat, lambda d: d.enrol(seat.enrolment_token))
        if answer is not None and answer.status == 200 and seat.device.token:
            seat.registered = True
            self.run.secrets.append(seat.device.token)

    def _beat(self, seat: Seat, beat: Beat) -> None:
        kind = DUPLICATE if beat.duplicate else HEARTBEAT
        self.at(beat.at, lambda: self.timed(kind, seat, lambda device: device.heartbeat(), intended=beat.at))

    def conduct(self) -> None:
        """Start the stream when all devices are enrolled, command them at its middle, wait until all is quiet."""
        self.prepared.wait()
        run = self.run
        if not self.ready:
            self._stream.set(None)
            return
        run.enter("enrolling", self.clock.now())
        if not self.wait_for("ready", SETTING_UP_WITHIN_S):
            run.doubts.append(f"{run.profile.devices - self.settled['ready']} devices did not finish their set-up")
        profile = self.profile
        start = self.clock.now() + 0.25
        clear = profile.edge_clear_s + self.clock.uncertainty_s
        run.buckets_known = clear <= profile.reach_s
        clear = clear if run.buckets_known else 0.0
        for number, seat in enumerate(run.seats):
            seat.beats = plan(profile, start, random.Random(f"{run.seed}/beats/{number}"), clear)
        run.stream_started_at = start
        run.enter("beating", start)
        self._stream.set(start)
        registered = [seat for seat in run.seats if seat.registered]
        delivery = Delivery(self.target.fcm_url) if self.target.fcm_url else None
        commands = Commands(run, registered, self.client, self.clock, delivery, self.greenlets, self.timed)
        strangers = Strangers(self.target.backend_pid)
        scraper = self.greenlets.spawn(self._scrape, start)
        middle = start + profile.duration_s * profile.command_after
        commanding = self.greenlets.spawn(self.at, middle, lambda: self._command(commands))
        if not self.wait_for("done", profile.duration_s + profile.request_timeout_s + 5.0):
            run.doubts.append("not every heartbeat was answered or given up in time")
        run.enter("waiting for results", self.clock.now())
        for greenlet in (scraper, commanding):
            greenlet.join(timeout=profile.message_within_s)
        if not commands.wait(profile.message_within_s):
            run.refused("not every device had its message and reported its result in time")
        run.strangers = strangers.share()
        run.enter("looking at what it left behind", self.clock.now())

    def _command(self, commands: Commands) -> None:
        self.run.enter("commanding", self.clock.now())
        commands.one_by_one()
        self.run.enter("beating", self.clock.now())

    def _scrape(self, start: float) -> None:
        """GET /metrics at fixed times, each in a greenlet of its own, as heartbeats are."""
        every_s = self.profile.duration_s / self.profile.scrapes
        whens = [start + number * every_s for number in range(self.profile.scrapes)]
        gevent.joinall([self.greenlets.spawn(self.at, when, partial(self._scrape_once, when)) for when in whens])

    def _scrape_once(self, when: float) -> None:
        sent = self.clock.now()
        status, error = 0, ""
        try:
            status = self.client.admin("GET", "/metrics", request_id=f"{self.run.tag}-metrics").status
        except TransportError as lost:
            error = str(lost)
        self.run.recorder.add(Sample("metrics", "admin", when, sent, self.clock.now(), status, None, error))

    def release(self) -> None:
        """Let every device that still waits for the stream go home."""
        if not self._stream.ready():
            self._stream.set(None)
