"""`python -m load SCENARIO`: runs a load scenario against the target of the environment and ends with its verdict.

Exit code 0 pass, 1 fail, 2 inconclusive (or the harness itself broke). It starts no backend:
`python -m harness run -- python -m load sim20` does.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
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
from load.progress import show
from load.workloads.arrival_rate import ArrivalRate
from load.workloads.catalogue import SCENARIOS, OfUsers
from load.workloads.options import add_options, chosen

_TROUBLE = 2
_WEB_PORT = 8089  # Locust's


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
        text = "under Locust's web page, on this port of 127.0.0.1; the verdict is a page of its own: /verdict"
        options.add_argument("--web", type=int, nargs="?", const=_WEB_PORT, metavar="PORT", help=text)
        options.add_argument("--artifacts", type=Path, metavar="DIR", help=f"./artifacts/{name} if not given")
    return parser


def _on_sigterm(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def simulate(scenario: OfUsers, target: Target, directory: Path, seed: int | None, console: Console) -> dict[str, Any]:
    """Run a scenario in a Locust environment of our own. Returns the document of result.json."""
    # Not at the top: locust patches the standard library when it is imported, and --help needs none of it.
    from locust.env import Environment  # noqa: PLC0415

    from load.locust_runner.driver import Driver  # noqa: PLC0415
    from load.locust_runner.users import SimulatedUser  # noqa: PLC0415
    from load.progress import follow  # noqa: PLC0415

    # It warns that so many users at once may take it a while; nothing is timed before all of them are there.
    logging.getLogger("locust.runners").setLevel(logging.ERROR)
    environment = Environment(user_classes=[SimulatedUser], host=target.base_url)
    runner = environment.create_local_runner()
    driver = SimulatedUser.driver = Driver(environment, scenario, target, seed)
    runner.start(scenario.devices, spawn_rate=scenario.devices)
    try:
        return follow(driver, directory, console)
    finally:
        runner.quit()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    parser = _parser()
    words = list(sys.argv[1:] if arguments is None else arguments)
    given = parser.parse_args(words)
    console = Console(stderr=True, highlight=False)
    try:
        run = _runner(chosen(SCENARIOS[given.scenario], given))
        if given.web is not None:
            _under_locust(given, words)
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


def _under_locust(given: argparse.Namespace, words: Sequence[str]) -> None:
    """Become Locust with its web page, and with the same options. ValueError: it could not work."""
    if given.artifacts is not None:
        raise ValueError("--artifacts: not with --web; NEXMDM_ARTIFACTS names the folder of all artifacts")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", given.web))
        except (OSError, OverflowError) as error:
            raise ValueError(f"--web: port {given.web} cannot be used: {error}") from None
    ours = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    ours.add_argument("scenario")
    ours.add_argument("--web", nargs="?")
    _, options = ours.parse_known_args(words)
    file = Path(__file__).parent / "scenarios" / f"{given.scenario.replace('-', '_')}.py"
    page = f"http://127.0.0.1:{given.web}"
    print(f"{given.scenario}: Locust at {page}, the verdict at {page}/verdict; Ctrl-C ends both", file=sys.stderr)
    locust = [sys.executable, "-m", "locust", "-f", str(file), "--web-host", "127.0.0.1", "--web-port", str(given.web)]
    os.execv(sys.executable, [*locust, *options])  # noqa: S606  # words of our own, and no shell that could read them


def _runner(scenario: Scenario) -> Callable[[Target, Path, int | None, Console], dict[str, Any]]:
    """What runs it."""
    if isinstance(scenario, ArrivalRate):
        from load.arrival_rate import runner  # noqa: PLC0415  # --help needs none of what it imports

        return partial(runner.run, scenario)
    assert isinstance(scenario, OfUsers)
    return partial(simulate, scenario)


if __name__ == "__main__":
    try:
        sys.exit(exit_code(main))
    except KeyboardInterrupt:  # before there was a run that could report it
        print("load: interrupted", file=sys.stderr)
        sys.exit(_TROUBLE)
