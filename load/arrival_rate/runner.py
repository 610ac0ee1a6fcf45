"""A run at an arrival rate in this one process. Locust distributes it over several: load/locust_runner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gevent
from rich.console import Console

from harness.processes.child import allow_descriptors
from harness.settings import Target
from load.arrival_rate.run import Arrivals
from load.arrival_rate.target import Ground
from load.arrival_rate.workers import Alone
from load.progress import Live
from load.verdict.arrival_rate_verdict import conclude
from load.workloads.arrival_rate import Fleet


def run(fleet: Fleet, target: Target, directory: Path, seed: int | None, console: Console) -> dict[str, Any]:
    """Run it and write its artifacts. Returns the document of result.json. SettingsError: the target is no ground."""
    allow_descriptors()  # a server that stalls makes the generator open thousands of connections
    arrivals = Arrivals(fleet, target, Alone(), Ground(target), seed)
    try:
        with Live(fleet.name, console) as live:
            conductor = arrivals.begin()
            while not conductor.ready():
                gevent.sleep(0.2)
                live.update(arrivals.now())
    except KeyboardInterrupt:
        pass
    finally:
        arrivals.end("interrupted")
    return conclude(arrivals.run, directory)
