"""The command line of open arrivals: runs a scenario in this process and ends with its verdict.

Exit code 0 pass, 1 fail, 2 inconclusive (or the harness itself broke). It deliberately starts no backend:
`python -m harness run -- python -m load.arrivals fleet-scale` does. Several processes: Locust (load/fleet_scale.py).
"""

from __future__ import annotations

import argparse
import resource
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import gevent
from rich.console import Console

from harness.settings import SettingsError, Target, artifacts
from load.arrivals.conclusion import conclude
from load.arrivals.crew import Alone
from load.arrivals.ground import Ground
from load.arrivals.live import Live
from load.arrivals.options import add_options, chosen
from load.arrivals.profiles import FLEETS, Fleet
from load.arrivals.run import Arrivals
from load.progress import show

_TROUBLE = 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m load.arrivals",
        description="Run open arrivals against the target that the environment describes (harness/settings.py).",
        epilog="Exit code: 0 pass, 1 the product failed, 2 inconclusive.",
    )
    scenarios = parser.add_subparsers(dest="scenario", required=True, metavar="SCENARIO")
    for name, fleet in FLEETS.items():
        options = scenarios.add_parser(name, help=fleet.plan, description=f"{fleet.plan}.")
        add_options(options, fleet)
        options.add_argument("--artifacts", type=Path, metavar="DIR", help=f"default: ./artifacts/{name}")
    return parser


def _on_sigterm(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def allow_connections() -> None:
    """A server that stalls makes the generator open thousands of connections: as many as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


def run(fleet: Fleet, target: Target, directory: Path, seed: int | None, console: Console) -> int:
    """Run it, write its artifacts, show its outcome; returns the exit code. SettingsError: the target is no ground."""
    allow_connections()
    arrivals = Arrivals(fleet, target, Alone(), Ground(target), seed)
    try:
        with Live(arrivals, console) as live:
            conductor = arrivals.begin()
            while not conductor.ready():
                gevent.sleep(0.2)
                live.update()
    except KeyboardInterrupt:
        pass
    finally:
        arrivals.end("interrupted")
    document = conclude(arrivals.run, directory)
    show(document, directory, console)
    return int(document["exit_code"])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    try:
        fleet = chosen(FLEETS[given.scenario], given)
    except ValueError as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        target = Target.from_env()
        return run(fleet, target, given.artifacts or artifacts(fleet.name), given.seed, console)
    except SettingsError as error:
        console.print(f"{fleet.name}: {error}", style="red", markup=False)
        return _TROUBLE
