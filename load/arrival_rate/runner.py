"""A run at an arrival rate from one sending process. Locust distributes it over several: load/locust_runner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from harness.settings import Target
from load.arrival_rate.catalogue import WORKLOADS
from load.arrival_rate.conductor import Conductor
from load.arrival_rate.workers import LocalWorker, Source
from load.progress import follow
from load.workloads.arrival_rate import ArrivalRate


def run(scenario: ArrivalRate, target: Target, directory: Path, seed: int | None, console: Console) -> dict[str, Any]:
    """Run it and write its artifacts. Returns the document of result.json. SettingsError: there is no database."""
    subject = WORKLOADS[scenario.workload].subject(target)
    workers = LocalWorker(Source(target.base_url, subject))
    return follow(Conductor(scenario, target, workers, subject, seed), directory, console)
