"""The options that scenarios have on both command lines, ours and Locust's. It reads no environment."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace

from load.workloads.simulation import Fanout, Profile, Scenario


def add_options(parser: ArgumentParser, scenario: Scenario) -> None:
    """Those that this scenario has, beside devices and duration."""
    parser.add_argument("--seed", type=int, metavar="S", default=None, help="repeat the schedule of an earlier run")
    if isinstance(scenario, Fanout):
        parser.add_argument("--rounds", type=int, default=scenario.rounds, metavar="N", help="commands in a row")
    else:
        text = "N times as fast and as short: interval and duration are divided by it"
        parser.add_argument("--compress", type=float, default=1.0, metavar="N", help=text)


def chosen(scenario: Scenario, given: Namespace, duration_s: float | None) -> Scenario:
    """The scenario with these options; duration_s is that before compression. ValueError: it could not work."""
    if isinstance(scenario, Fanout):
        if duration_s is not None:
            raise ValueError(f"{scenario.name} has no duration: it ends with the last result")
        return replace(scenario, rounds=given.rounds)
    assert isinstance(scenario, Profile)
    longer = scenario if duration_s is None else replace(scenario, duration_s=duration_s)
    return longer.compressed(given.compress)
