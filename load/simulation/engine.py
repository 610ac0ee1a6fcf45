"""What all scenarios of devices share: timed calls of a device, and where the run is."""

from __future__ import annotations

from collections.abc import Callable

from gevent.lock import BoundedSemaphore

from harness.devices.device import Device
from harness.http.client import Answer, Transport, TransportError
from harness.settings import Target
from harness.verdict.thresholds import percentile
from load.engine import Engine
from load.measurements.samples import Sample
from load.progress import Now
from load.simulation.observer import Observations
from load.simulation.run import DUPLICATE, HEARTBEAT, SimulatedDevice, SimulationRun
from load.workloads.simulation import Simulated

SETTING_UP_WITHIN_S = 60.0


class DeviceEngine(Engine[SimulationRun, Observations]):
    """One run of simulated devices; the users are devices."""

    def __init__(self, scenario: Simulated, target: Target, admin: Transport, seed: int | None = None) -> None:
        super().__init__(SimulationRun.of(scenario, target, seed), target, admin)
        self.entrance = BoundedSemaphore(scenario.at_once)

    def timed(
        self, kind: str, device: SimulatedDevice, call: Callable[[Device], Answer], intended: float | None = None
    ) -> Answer | None:
        """Make one call of a device and record it, answered or not. intended: server time; None: now."""
        assert device.client is not None
        sent = self.run.clock.now()
        answer: Answer | None = None
        error = ""
        try:
            answer = call(device.client)
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
        self.run.samples.add(Sample(kind, device.alias, when, sent, self.run.clock.now(), status, deduplicated, error))
        if status != 200:
            self.run.refused(f"{device.alias}: {kind} got {status or 'no answer'} {error}".strip())
        return answer

    def now(self) -> Now:
        """Where the run is, for people."""
        run, shown = self.run, _figures(self.run)
        started, duration_s = run.stream_started_at, run.scenario.duration_s
        done_s = 0.0 if started is None else min(max(0.0, run.clock.now() - started), duration_s)
        line = f" {done_s:.0f}/{duration_s:g} s · {shown}" if started else ""
        return Now(run.phase, shown, done_s, duration_s or None, line)


def _figures(run: SimulationRun) -> str:
    """The run in one line: heartbeats, duplicates, p95 so far, commands."""
    sent = run.heartbeats
    latencies = [sample.latency_ms for sample in sent if sample.ok]
    failed = len(sent) - len(latencies)
    parts = [
        f"{len(sent)}/{len(run.planned) or '?'} heartbeats",
        f"{sum(bool(sample.deduplicated) for sample in sent)} deduplicated",
        f"p95 {percentile(latencies, 0.95):.1f} ms" if latencies else "p95 -",
        f"{run.completed}/{len(run.devices) or '?'} commands done",
    ]
    return " · ".join(parts + ([f"{failed} failed"] if failed else []))
