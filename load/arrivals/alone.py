"""Open arrivals in this one process. Several processes are Locust's: load/fleet_scale.py. It reads no command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gevent
from rich.console import Console

from harness.processes.child import allow_descriptors
from harness.settings import Target
from load.arrivals.conclusion import conclude
from load.arrivals.crew import Alone
from load.arrivals.ground import Ground
from load.arrivals.profiles import Fleet
from load.arrivals.run import Arrivals
from load.progress import Live


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
