"""Devices that enrol, send heartbeats, are commanded and answer (seed 000 B and 001). It judges nothing."""

from __future__ import annotations

import random
from functools import partial

import gevent
from gevent.event import AsyncResult

from harness.devices.device import Device
from harness.http.client import Transport, TransportError
from harness.settings import Target
from harness.verdict.cpu_contention import Strangers
from load.measurements.generator_cost import Meter
from load.measurements.run import in_short
from load.measurements.samples import Sample
from load.simulation import setup
from load.simulation.commands import Commands
from load.simulation.engine import SETTING_UP_WITHIN_S, DeviceEngine
from load.simulation.fcm_delivery import Delivery
from load.simulation.observer import Observer
from load.simulation.run import DUPLICATE, HEARTBEAT, SimulatedDevice
from load.simulation.schedule import Heartbeat, plan
from load.simulation.thresholds import CRITERIA
from load.workloads.simulation import Profile


class ControlLoop(DeviceEngine):
    """Devices that enrol at once and then keep their schedule."""

    criteria = CRITERIA

    def __init__(self, profile: Profile, target: Target, admin: Transport, seed: int | None = None) -> None:
        super().__init__(profile, target, admin, seed)
        self.profile = profile
        self.observer = Observer(self.run, target, self.client)
        self._stream: AsyncResult[float | None] = AsyncResult()

    def equip(self) -> str:
        """Everything that the admin does beforehand."""
        setup.prepare(self.run, self.profile, self.client)
        return f"{len(self.run.devices)} tokens"

    def live(self, number: int, transport: Transport) -> None:
        """One device, from the APK to the answer of its last heartbeat."""
        self.arranged.wait()
        if not self.run.is_ready:
            return
        device = self.run.devices[number]
        try:
            try:
                with self.entrance:
                    self._enrol(device, transport, random.Random(f"{self.run.seed}/facts/{number}"))
            finally:
                self.settled["ready"] += 1
            start = self._stream.get()
            if start is not None and device.registered:
                sent = [self.greenlets.spawn(self._send, device, heartbeat) for heartbeat in device.heartbeats]
                gevent.joinall(sent)
        except Exception as error:  # noqa: BLE001  # a bug of the harness must not look like a quiet device
            self.run.doubts.append(f"{device.alias}: the harness broke: {in_short(error)}")
        finally:
            self.settled["done"] += 1

    def _enrol(self, device: SimulatedDevice, transport: Transport, rng: random.Random) -> None:
        device.client = Device(transport, device.alias, rng=rng, clock=self.run.clock.now)
        apk = self.timed(
            "apk", device, lambda d: d.download_apk(device.enrolment_token, package_name=self.run.package_name)
        )
        device.apk_fetched = apk is not None and apk.status == 200 and apk.body == self.run.apk
        answer = self.timed("register", device, lambda d: d.enrol(device.enrolment_token))
        if answer is not None and answer.status == 200 and device.client.token:
            device.registered = True
            self.run.secrets.append(device.client.token)

    def _send(self, device: SimulatedDevice, heartbeat: Heartbeat) -> None:
        kind, due = DUPLICATE if heartbeat.duplicate else HEARTBEAT, heartbeat.at
        self.at(due, lambda: self.timed(kind, device, lambda client: client.heartbeat(), intended=due))

    def conduct(self) -> None:
        """Start the stream when all devices are enrolled, command them at its middle, wait until all is quiet."""
        self.arranged.wait()
        run = self.run
        if not self.run.is_ready:
            self._stream.set(None)
            return
        run.enter("enrolling")
        if not self.wait_for("ready", SETTING_UP_WITHIN_S):
            run.doubts.append(f"{run.scenario.devices - self.settled['ready']} devices did not finish their set-up")
        profile = self.profile
        start = self.run.clock.now() + 0.25
        clear = profile.edge_clear_s + run.clock.uncertainty_s
        run.buckets_known = clear <= profile.reach_s
        clear = clear if run.buckets_known else 0.0
        for number, device in enumerate(run.devices):
            device.heartbeats = plan(profile, start, random.Random(f"{run.seed}/beats/{number}"), clear)
        run.stream_started_at = start
        run.enter("beating", start)
        self._stream.set(start)
        registered = [device for device in run.devices if device.registered]
        delivery = Delivery(self.target.fcm_url) if self.target.fcm_url else None
        commands = Commands(run, registered, self.client, delivery, self.greenlets, self.timed)
        others, meter = Strangers(self.target.backend_pid), Meter(len(run.samples.all))
        scraper = self.greenlets.spawn(self._scrape, start)
        middle = start + profile.duration_s * profile.command_after
        commanding = self.greenlets.spawn(self.at, middle, lambda: self._command(commands))
        if not self.wait_for("done", profile.duration_s + profile.request_timeout_s + 5.0):
            run.doubts.append("not every heartbeat was answered or given up in time")
        run.enter("waiting for results")
        for greenlet in (scraper, commanding):
            greenlet.join(timeout=profile.message_within_s)
        if not commands.wait(profile.message_within_s):
            run.refused("not every device had its message and reported its result in time")
        run.other_cpu, run.generator_cost = others.share(), meter.read(len(run.samples.all))
        run.enter("looking at what it left behind")

    def _command(self, commands: Commands) -> None:
        self.run.enter("commanding")
        commands.one_by_one()
        self.run.enter("beating")

    def _scrape(self, start: float) -> None:
        """GET /metrics at fixed times, each in a greenlet of its own, as heartbeats are."""
        every_s = self.profile.duration_s / self.profile.scrapes
        whens = [start + number * every_s for number in range(self.profile.scrapes)]
        gevent.joinall([self.greenlets.spawn(self.at, when, partial(self._scrape_once, when)) for when in whens])

    def _scrape_once(self, when: float) -> None:
        sent = self.run.clock.now()
        status, error = 0, ""
        try:
            status = self.client.admin("GET", "/metrics", request_id=f"{self.run.tag}-metrics").status
        except TransportError as lost:
            error = str(lost)
        self.run.samples.add(Sample("metrics", "admin", when, sent, self.run.clock.now(), status, None, error))

    def release(self) -> None:
        """Let every device that still waits for the stream go home."""
        if not self._stream.ready():
            self._stream.set(None)
