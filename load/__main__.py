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
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from harness import preflight
from harness.settings import SettingsError, Target, artifacts
from harness.verdict.thresholds import exit_code
from load.measurements.run import Scenario
from load.progress import Live, show
from load.workloads.arrival_rate import ArrivalRate
from load.workloads.catalogue import SCENARIOS
from load.workloads.options import add_options, chosen
from load.workloads.simulation import Simulated

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
        formatter = argparse.ArgumentDefaultsHelpFormatter
        options = scenarios.add_parser(
            name, help=scenario.plan, description=f"{scenario.plan}.", formatter_class=formatter
        )
        add_options(options, scenario)
        options.add_argument("--artifacts", type=Path, metavar="DIR", help=f"./artifacts/{name} if not given")
    return parser


def _on_sigterm(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def simulate(
    scenario: Simulated, target: Target, directory: Path, seed: int | None, console: Console
) -> dict[str, Any]:
    """Run a scenario in a Locust environment of our own. Returns the document of result.json."""
    # Not at the top: locust patches the standard library when it is imported, and --help needs none of it.
    import gevent  # noqa: PLC0415
    from locust.env import Environment  # noqa: PLC0415

    from load.locust_runner.driver import Driver  # noqa: PLC0415
    from load.locust_runner.users import SimulatedUser  # noqa: PLC0415

    # It warns that so many users at once may take it a while; nothing is timed before all of them are there.
    logging.getLogger("locust.runners").setLevel(logging.ERROR)
    environment = Environment(user_classes=[SimulatedUser], host=target.base_url)
    runner = environment.create_local_runner()
    driver = SimulatedUser.driver = Driver(environment, scenario, target, directory, seed)
    try:
        with Live(driver.run.scenario.name, console) as live:
            driver.begin()
            runner.start(scenario.devices, spawn_rate=scenario.devices)
            while driver.document is None:
                gevent.sleep(0.2)
                live.update(driver.engine.now())
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
        run = _runner(chosen(SCENARIOS[given.scenario], given))
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


def _runner(scenario: Scenario) -> Callable[[Target, Path, int | None, Console], dict[str, Any]]:
    """What runs it."""
    if isinstance(scenario, ArrivalRate):
        from load.arrival_rate import runner  # noqa: PLC0415  # --help needs none of what it imports

        return partial(runner.run, scenario)
    assert isinstance(scenario, Simulated)
    return partial(simulate, scenario)


if __name__ == "__main__":
    try:
        sys.exit(exit_code(main))
    except KeyboardInterrupt:  # before there was a run that could report it
        print("load: interrupted", file=sys.stderr)
        sys.exit(_TROUBLE)
