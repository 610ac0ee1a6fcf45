"""The 20-device simulation, seed 000 B: enrol, beat, be commanded, answer. It knows neither Locust nor verdicts.

Whoever drives it calls `prepare`, then `conduct`, and `live` in a greenlet per device, which may start before.
Needs gevent's monkey patch, which importing locust applies.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent.event import AsyncResult, Event
from gevent.lock import BoundedSemaphore
from gevent.pool import Group

from harness.budgets import Check, Status
from harness.client import Answer, Client, Transport, TransportError
from harness.device import Device
from harness.settings import Target
from load import clock, preparation
from load.evidence import Collector
from load.fanout import Fanout
from load.profiles import Profile
from load.recorder import DUPLICATE, HEARTBEAT, Sample
from load.schedule import Beat, plan
from load.seats import Run, Seat
from load.strangers import Strangers

_SETTING_UP_WITHIN_S = 60.0


class Simulation:
    """One run against one target. `admin` is the transport of the admin and of the metrics scraper."""

    def __init__(self, profile: Profile, target: Target, admin: Transport, seed: int | None = None) -> None:
        self.target = target
        self.client = Client(admin, target.admin_key, target.hmac_secret)
        self.run = Run(
            profile=profile,
            id=f"{int(time.time()):08x}{secrets.token_hex(1)}",
            seed=secrets.randbits(32) if seed is None else seed,
            capabilities=target.capabilities,
            started_at=time.time(),
            target="{0.scheme}://{0.hostname}:{0.port}".format(urlsplit(target.base_url)),
            secrets=[target.admin_key, target.hmac_secret],
        )
        self.collector = Collector(self.run, target, self.client)
        self.clock = clock.ServerClock(time.time() - time.monotonic(), 0.0, "this machine")
        self.greenlets = Group()
        self._entrance = BoundedSemaphore(profile.enrol_at_once)
        self._prepared = Event()
        self._settled = {"ready": 0, "done": 0}
        self._stream: AsyncResult[float | None] = AsyncResult()
        self.fanout: Fanout | None = None

    def prepare(self) -> None:
        """Everything that the admin does beforehand. What goes wrong is kept in `run.preparation`."""
        run = self.run
        run.enter("preparing", self.clock.now())
        try:
            self.clock = clock.measure(
                self.target.base_url, self.target.database_url, lambda: self.client.request("GET", "/healthz")
            )
            run.clock_source, run.clock_uncertainty_s = self.clock.source, self.clock.uncertainty_s
            run.started_at = self.clock.now()
            self.collector.begin()
            preparation.prepare(run, self.client)
            run.preparation = Check("preparation", run.preparation.title, Status.PASS, f"{len(run.seats)} tokens")
        except preparation.NotReady as refusal:
            run.preparation = Check("preparation", run.preparation.title, refusal.status, str(refusal))
        except Exception as error:  # noqa: BLE001  # whatever broke, the run proves nothing and must say so
            run.preparation = Check("preparation", run.preparation.title, Status.INCONCLUSIVE, _tell(error))
        finally:
            self._prepared.set()

    def live(self, number: int, transport: Transport) -> None:
        """One device, from the APK to the answer of its last heartbeat."""
        self._prepared.wait()
        if self.run.preparation.status is not Status.PASS:
            return
        seat = self.run.seats[number]
        try:
            try:
                with self._entrance:
                    self._enrol(seat, transport, random.Random(f"{self.run.seed}/facts/{number}"))
            finally:
                self._settled["ready"] += 1
            start = self._stream.get()
            if start is not None and seat.registered:
                beats = [self.greenlets.spawn(self._beat, seat, beat) for beat in seat.beats]
                gevent.joinall(beats)
        except Exception as error:  # noqa: BLE001  # a bug of the harness must not look like a quiet device
            self.run.doubts.append(f"{seat.alias}: the harness broke: {_tell(error)}")
        finally:
            self._settled["done"] += 1

    def _enrol(self, seat: Seat, transport: Transport, rng: random.Random) -> None:
        seat.device = Device(transport, seat.alias, rng=rng, clock=self.clock.now)
        apk = self._timed(
            "apk", seat, lambda d: d.download_apk(seat.enrolment_token, package_name=self.run.package_name)
        )
        seat.apk_fetched = apk is not None and apk.status == 200 and apk.body == self.run.apk
        answer = self._timed("register", seat, lambda d: d.enrol(seat.enrolment_token))
        if answer is not None and answer.status == 200 and seat.device.token:
            seat.registered = True
            self.run.secrets.append(seat.device.token)

    def _at(self, when: float, act: Callable[[], Any]) -> None:
        gevent.sleep(max(0.0, when - self.clock.now()))
        act()

    def _beat(self, seat: Seat, beat: Beat) -> None:
        kind = DUPLICATE if beat.duplicate else HEARTBEAT
        self._at(beat.at, lambda: self._timed(kind, seat, lambda device: device.heartbeat(), intended=beat.at))

    def _timed(
        self, kind: str, seat: Seat, call: Callable[[Device], Answer], intended: float | None = None
    ) -> Answer | None:
        """Make one call of a device and record it, answered or not."""
        assert seat.device is not None
        sent = self.clock.now()
        answer: Answer | None = None
        error = ""
        try:
            answer = call(seat.device)
        except TransportError as lost:
            error = str(lost)
        status = answer.status if answer is not None else 0
        deduplicated: bool | None = None
        if answer is not None and status == 200 and kind in (HEARTBEAT, DUPLICATE):
            try:
                deduplicated = answer.json()["deduplicated"]
            except (ValueError, LookupError, TypeError):
                error = "the answer does not say whether it was deduplicated"  # None is what no check accepts
        when = sent if intended is None else intended
        self.run.recorder.add(Sample(kind, seat.alias, when, sent, self.clock.now(), status, deduplicated, error))
        if status != 200:
            self.run.refused(f"{seat.alias}: {kind} got {status or 'no answer'} {error}".strip())
        return answer

    def conduct(self) -> None:
        """Start the stream when all devices are enrolled, command them at its middle, wait until all is quiet."""
        self._prepared.wait()
        run = self.run
        if run.preparation.status is not Status.PASS:
            self._stream.set(None)
            return
        run.enter("enrolling", self.clock.now())
        if not self._wait_for("ready", _SETTING_UP_WITHIN_S):
            run.doubts.append(f"{run.profile.devices - self._settled['ready']} devices did not finish their set-up")
        profile = run.profile
        start = self.clock.now() + 0.25
        clear = profile.edge_clear_s + self.clock.uncertainty_s
        run.buckets_known = clear <= profile.reach_s
        clear = clear if run.buckets_known else 0.0
        for number, seat in enumerate(run.seats):
            seat.beats = plan(profile, start, random.Random(f"{run.seed}/beats/{number}"), clear)
        run.stream_started_at = start
        run.enter("beating", start)
        self._stream.set(start)
        self.fanout = Fanout(run, self.client, self.clock, self.target.fcm_url, self.greenlets, self._timed)
        strangers = Strangers(self.target.backend_pid)
        scraper = self.greenlets.spawn(self._scrape, start)
        middle = start + profile.duration_s * profile.command_after
        commands = self.greenlets.spawn(self._at, middle, self.fanout.command_all)
        if not self._wait_for("done", profile.duration_s + profile.request_timeout_s + 5.0):
            run.doubts.append("not every heartbeat was answered or given up in time")
        run.enter("waiting for results", self.clock.now())
        for greenlet in (scraper, commands):
            greenlet.join(timeout=profile.message_within_s)
        if not self.fanout.wait(profile.message_within_s):
            run.refused("not every device had its message and reported its result in time")
        run.strangers = strangers.share()
        run.enter("looking at what it left behind", self.clock.now())

    def _wait_for(self, what: str, within_s: float) -> bool:
        deadline = time.monotonic() + within_s
        while self._settled[what] < self.run.profile.devices and time.monotonic() < deadline:
            gevent.sleep(0.02)
        return self._settled[what] >= self.run.profile.devices

    def _scrape(self, start: float) -> None:
        """GET /metrics at fixed times, each in a greenlet of its own, as heartbeats are."""
        every_s = self.run.profile.duration_s / self.run.profile.scrapes
        whens = [start + number * every_s for number in range(self.run.profile.scrapes)]
        gevent.joinall([self.greenlets.spawn(self._at, when, partial(self._scrape_once, when)) for when in whens])

    def _scrape_once(self, when: float) -> None:
        sent = self.clock.now()
        status, error = 0, ""
        try:
            status = self.client.admin("GET", "/metrics", request_id=f"{self.run.tag}-metrics").status
        except TransportError as lost:
            error = str(lost)
        self.run.recorder.add(Sample("metrics", "admin", when, sent, self.clock.now(), status, None, error))

    def abandon(self, why: str) -> None:
        """Stop everything at once: Ctrl-C, or the driver ended the run. Nothing it measured proves anything."""
        self.run.interrupted = True
        self.run.doubts.append(why)
        self._prepared.set()
        if not self._stream.ready():
            self._stream.set(None)
        self.greenlets.kill(timeout=2.0)


def _tell(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
