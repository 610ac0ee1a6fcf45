"""`python -m load SCENARIO`: runs a load scenario against the target of the environment and ends with its verdict.

Exit code 0 pass, 1 fail, 2 inconclusive (or the harness itself broke). It starts no backend:
`python -m harness run -- python -m load sim20` does.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from harness import preflight
from harness.settings import SettingsError, Target, artifacts
from harness.verdict.thresholds import exit_code
from load.progress import Live, of, show
from load.workloads.arrival_rate import FLEETS
from load.workloads.arrival_rate_options import add_options as add_fleet_options
from load.workloads.arrival_rate_options import chosen as chosen_fleet
from load.workloads.arrival_rate_options import seconds
from load.workloads.options import add_options, chosen
from load.workloads.simulation import SCENARIOS, Fanout, Scenario

_TROUBLE = 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m load",
        description="Run a load scenario against the target that the environment describes (harness/settings.py).",
        epilog="Exit code: 0 pass, 1 the product failed, 2 inconclusive. A stack of its own: "
        "`python -m harness run -- python -m load sim20`.",
    )
    scenarios = parser.add_subparsers(dest="scenario", required=True, metavar="SCENARIO")
    for name, scenario in SCENARIOS.items():
        options = scenarios.add_parser(name, help=scenario.plan, description=f"{scenario.plan}.")
        options.set_defaults(duration=None)
        if not isinstance(scenario, Fanout):
            default = f"of heartbeats, before compression; default: {scenario.duration_s:g}s"
            options.add_argument("--duration", type=seconds, metavar="30s", help=default)
        options.add_argument("--devices", type=int, default=scenario.devices, metavar="N")
        add_options(options, scenario)
    for name, fleet in FLEETS.items():
        options = scenarios.add_parser(name, help=fleet.plan, description=f"{fleet.plan}.")
        add_fleet_options(options, fleet)
    for name, options in scenarios.choices.items():
        options.add_argument("--artifacts", type=Path, metavar="DIR", help=f"default: ./artifacts/{name}")
    return parser


def _on_sigterm(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def simulate(scenario: Scenario, target: Target, directory: Path, seed: int | None, console: Console) -> dict[str, Any]:
    """Run a scenario in a Locust environment of our own. Returns the document of result.json."""
    # Not at the top: locust patches the standard library when it is imported, and --help needs none of it.
    import gevent  # noqa: PLC0415
    from locust.env import Environment  # noqa: PLC0415

    from load.locust_runner.driver import Driver  # noqa: PLC0415
    from load.locust_runner.users import SimulatedDevice  # noqa: PLC0415

    # It warns that so many users at once may take it a while; nothing is timed before all of them are there.
    logging.getLogger("locust.runners").setLevel(logging.ERROR)
    environment = Environment(user_classes=[SimulatedDevice], host=target.base_url)
    runner = environment.create_local_runner()
    driver = SimulatedDevice.driver = Driver(environment, scenario, target, directory, seed)
    try:
        with Live(driver.run.profile.name, console) as live:
            driver.begin()
            runner.start(scenario.devices, spawn_rate=scenario.devices)
            while driver.document is None:
                gevent.sleep(0.2)
                live.update(of(driver.run, driver.engine.clock.now()))
    except KeyboardInterrupt:
        driver.end("interrupted")
    finally:
        runner.quit()
    assert driver.document is not None
    return driver.document


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    try:
        run = _prepared(given)
    except ValueError as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, _on_sigterm)
    directory = given.artifacts or artifacts(given.scenario)
    try:
        document = run(preflight.given_target(), directory, given.seed, console)
    except SettingsError as error:
        console.print(f"{given.scenario}: {error}", style="red", markup=False)
        return _TROUBLE
    show(document, directory, console)
    return int(document["exit_code"])


def _prepared(given: argparse.Namespace) -> Callable[[Target, Path, int | None, Console], dict[str, Any]]:
    """What runs the scenario that was asked for. ValueError: it could not work with these options."""
    if given.scenario in FLEETS:
        from load.arrival_rate import runner  # noqa: PLC0415  # --help needs none of what it imports

        return partial(runner.run, chosen_fleet(FLEETS[given.scenario], given))
    return partial(simulate, chosen(replace(SCENARIOS[given.scenario], devices=given.devices), given, given.duration))


if __name__ == "__main__":
    try:
        sys.exit(exit_code(main))
    except KeyboardInterrupt:  # before there was a run that could report it
        print("load: interrupted", file=sys.stderr)
        sys.exit(_TROUBLE)
