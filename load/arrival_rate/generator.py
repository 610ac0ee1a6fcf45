"""Sends the requests of a leg when they are due, and counts what becomes of them. It never waits for an answer.

Latency is answered - due: a request that must wait for a free connection, because as many as the generator opens are
unanswered, shows all of that wait, as its device would. Lag, which voids a run, is the generator's own: how long after
its time a request was taken up. It belongs into a process of its own (process.py): while it runs, nothing else does.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.open_loop.exchange import Exchange
from harness.open_loop.loop import OpenLoop
from load.arrival_rate.schedule import Leg
from load.arrival_rate.workload import Requests, WorkerConfig
from load.measurements.histogram import Timings
from load.measurements.tally import Ledger, Tally

GRACE_S = 0.1  # an answer this long after the end of a leg still belongs to its rate
_REPORT_EVERY_S = 1.0


class Generator:
    """One process's part of the load. `tally` is that of the present leg, or of the last one."""

    def __init__(
        self,
        config: WorkerConfig,
        requests: Requests,
        ledger: Callable[[], Ledger],
        report: Callable[[Tally], None] | None = None,
    ) -> None:
        """ledger: a new one; report: is called about every second while a leg is sent."""
        self._config, self._requests, self._ledger, self._report = config, requests, ledger, report
        self._loop = OpenLoop(config.base_url, timeout_s=config.timeout_s)
        self.tally = self._blank()

    def run(self, leg: Leg) -> Tally:
        """Send the leg; returns when every request was answered or given up."""
        config, tally = self._config, self._blank()
        self.tally, self._leg = tally, leg
        tally.planned = leg.share(config.devices, config.index, config.processes)
        self._loop.busiest, self._report_at = 0, time.monotonic() + _REPORT_EVERY_S
        self._began = max(time.monotonic(), leg.start - config.ahead_s)
        self._cpu_began = time.process_time()
        self._loop.run(self._requests.of(leg), self, window=leg.at_once)
        tally.cpu_s = time.process_time() - self._cpu_began
        tally.busiest = self._loop.busiest
        return tally

    def stop(self) -> None:
        """End the leg with what it has come to; a signal handler may call it."""
        self._loop.stop()

    def close(self) -> None:
        """Close the connections."""
        self._loop.close()

    def released(self, exchange: Exchange) -> None:
        """Of the loop: a request was taken up."""
        tally, now = self.tally, exchange.released
        tally.sent += 1
        tally.lag.record(now - exchange.due)
        if tally.sent == tally.planned and now > self._began:
            tally.cpu = (time.process_time() - self._cpu_began) / (now - self._began)
        if now >= self._report_at and self._report is not None:
            self._report_at = now + _REPORT_EVERY_S
            self._report(tally)

    def ended(self, exchange: Exchange) -> float:
        """Of the loop: a request was answered or given up."""
        config, tally, leg, status = self._config, self.tally, self._leg, exchange.status
        ok = self._requests.accept(exchange, tally.ledger)
        tally.answered += ok
        tally.unanswered += status == 0 or status >= 500
        tally.in_time += ok and exchange.ended + config.ahead_s <= leg.end + GRACE_S
        if not ok:
            tally.others[f"status {status}" if status else exchange.trouble] += 1
        # A warm-up that was held back is judged by nothing: its times count from when it was really sent.
        due, since = exchange.released if leg.at_once else exchange.due, config.ahead_s - config.origin
        tally.timings.record(exchange.kind, due + since, exchange.ended + since, ok=ok)
        return 0.0

    def _blank(self) -> Tally:
        return Tally(Timings(self._config.interval_s, self._config.timeout_s), ledger=self._ledger())
