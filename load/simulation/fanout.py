"""The fanout: one signed command to a whole fleet, whose devices each get their message and answer. It judges nothing.

The fleet is seeded: a thousand enrolments would be a minute of bcrypt. Each device sends one heartbeat before, as a
real one has long done: the backend checks a token's hash at its first use and remembers it.
"""

from __future__ import annotations

import random

from gevent.event import Event

from harness.devices import seeded_fleet
from harness.devices.device import Device
from harness.http.client import Transport
from harness.settings import Target
from harness.verdict.cpu_contention import Strangers
from harness.verdict.thresholds import Status
from load.engine import NotReady
from load.measurements.generator_cost import Meter
from load.measurements.run import in_short
from load.simulation.commands import Commands
from load.simulation.engine import SETTING_UP_WITHIN_S, DeviceEngine
from load.simulation.fanout_thresholds import CRITERIA
from load.simulation.fcm_delivery import Delivery
from load.simulation.observer import FanoutObserver
from load.simulation.run import HEARTBEAT, SimulatedDevice
from load.workloads.simulation import Fanout


class FanoutSimulation(DeviceEngine):
    """Some rounds, one after the other, each over when the last device has reported."""

    criteria = CRITERIA

    def __init__(self, scenario: Fanout, target: Target, admin: Transport, seed: int | None = None) -> None:
        super().__init__(scenario, target, admin, seed)
        self.rounds = scenario.rounds
        self.observer = FanoutObserver(self.run, target, self.client)
        self._fleet: list[seeded_fleet.FleetDevice] = []
        self._clients: dict[int, Device] = {}
        self._over = Event()

    def equip(self) -> str:
        """Seed the fleet."""
        if self.target.database_url is None or self.target.fcm_url is None:
            raise NotReady("needs DATABASE_URL and NEXMDM_FCM_URL, the control of a fake FCM", Status.INCONCLUSIVE)
        self._fleet = seeded_fleet.seed(self.target.database_url, self.run.scenario.devices)
        self.run.secrets.append(self._fleet[0].token)  # its end is the secret that all of them share
        return f"{len(self._fleet)} devices seeded"

    def live(self, number: int, transport: Transport) -> None:
        """One device: it makes itself known, and stays until the end."""
        self.arranged.wait()
        if not self.run.is_ready:
            return
        own = self._fleet[number]
        rng = random.Random(f"{self.run.seed}/facts/{number}")
        client = Device(transport, own.alias, rng=rng, clock=self.run.clock.now)
        client.device_id, client.token = own.device_id, own.token
        client.facts["fcm_token"] = own.fcm_token
        self._clients[number] = client
        try:
            with self.entrance:
                self.timed(HEARTBEAT, SimulatedDevice(own.alias, "", client=client), lambda d: d.heartbeat())
        except Exception as error:  # noqa: BLE001  # a bug of the harness must not look like a quiet device
            self.run.doubts.append(f"{own.alias}: the harness broke: {in_short(error)}")
        finally:
            self.settled["ready"] += 1
        self._over.wait()

    def conduct(self) -> None:
        """All rounds."""
        self.arranged.wait()
        run = self.run
        if not run.is_ready or self.target.fcm_url is None:
            return
        run.enter("warming up")
        self.wait_for("ready", SETTING_UP_WITHIN_S)
        known = sum(sample.ok for sample in run.heartbeats)
        if known < run.scenario.devices:
            run.doubts.append(
                f"{run.scenario.devices - known} devices were not known to the backend before the command"
            )
        delivery = Delivery(self.target.fcm_url)
        others, meter = Strangers(self.target.backend_pid), Meter(len(run.samples.all))
        for number in range(1, self.rounds + 1):
            run.enter(f"round {number}")
            self._round(number, delivery)
        run.other_cpu, run.generator_cost = others.share(), meter.read(len(run.samples.all))
        run.enter("looking at what it left behind")
        self._over.set()

    def _round(self, number: int, delivery: Delivery) -> None:
        run, scenario = self.run, self.run.scenario
        devices = [SimulatedDevice(client.alias, "", client=client) for _, client in sorted(self._clients.items())]
        run.devices += devices
        commands = Commands(run, devices, self.client, delivery, self.greenlets, self.timed)
        commands.at_once(f"{run.tag}-{number}")
        patience_s = scenario.message_within_s + scenario.answer_after_s[1] + scenario.request_timeout_s
        if not commands.wait(patience_s):
            run.refused(f"round {number}: not every device had its message and reported its result in time")

    def release(self) -> None:
        """Let every device go home."""
        self._over.set()
