"""The options of the scenarios, the same on both command lines, ours and Locust's. It reads no environment."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from dataclasses import replace

from load.measurements.run import Scenario
from load.workloads.arrival_rate import FLEET_SCALE, ArrivalRate, Arrivals, Capacity
from load.workloads.shown import Shown
from load.workloads.simulation import Fanout, Profile
from load.workloads.students import WITHOUT_PAUSE, Mixed, MultiLab, Students

Option = Callable[[str, float, str], None]


def seconds(text: str) -> float:
    """`90`, `90s`, `3m`, `1h`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r}: a number with s, m or h, such as 30s")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2] or "s"]


def add_options(parser: ArgumentParser, scenario: Scenario) -> None:
    """Those that this scenario has."""

    def number(name: str, default: float, text: str) -> None:
        parser.add_argument(name, type=type(default), default=default, metavar="N", help=text)

    def duration(name: str, default: float, text: str) -> None:
        parser.add_argument(name, type=seconds, default=default, metavar="30s", help=text)

    parser.add_argument("--seed", type=int, default=None, metavar="S", help="repeat the schedule of an earlier run")
    if isinstance(scenario, Shown):
        duration("--duration", scenario.duration_s, f"until the last {scenario.whom} go")
        text = "what is wrong with the backend, for the report"
        parser.add_argument("--broken", default="", metavar="WHAT", help=text)
        return
    if isinstance(scenario, Students):
        _add_students(parser, scenario, number)
        return
    number(f"--{scenario.whom}", scenario.devices, "how many")
    if isinstance(scenario, Fanout):
        number("--rounds", scenario.rounds, "commands in a row")
    elif isinstance(scenario, Profile):
        duration("--duration", scenario.duration_s, "of heartbeats, before compression")
        number("--compress", 1.0, "so many times as fast and as short: interval and duration are divided by it")
    elif isinstance(scenario, Capacity):
        number("--rate", scenario.per_s, "requests/s of the first stage")
        number("--most", scenario.most_per_s, "no stage beyond this rate")
        duration("--stage", scenario.duration_s, "length of a stage")
    elif isinstance(scenario, ArrivalRate):
        _add_arrival_rate(scenario, number, duration)
    if isinstance(scenario, ArrivalRate):
        number("--warm-up-rate", scenario.warm_up_per_s, "first requests/s, at most; they are not judged")


def _add_arrival_rate(scenario: ArrivalRate, number: Option, duration: Option) -> None:
    if isinstance(scenario, Arrivals) and scenario.rise:
        number("--compress", 1.0, "divides every duration, no rate")
        return
    duration("--duration", scenario.duration_s, "of what is measured")
    if scenario.name == FLEET_SCALE.name:
        duration("--cadence", scenario.devices / scenario.per_s, "of each device")
    else:
        number("--rate", scenario.per_s, "requests/s, all together")


def _add_students(parser: ArgumentParser, scenario: Students, number: Option) -> None:
    if isinstance(scenario, MultiLab):
        number("--students", scenario.students, "who play every lab")
        number("--crowd", scenario.devices, "who come at once, after them")
        return
    parser.add_argument("--duration", type=seconds, default=scenario.duration_s, metavar="30s", help="of requests")
    number("--students", scenario.devices, "how many at once")
    number("--sandboxes", scenario.sandboxes, "seeded before")
    text = f"no pause between two requests of a student; then p99 < {WITHOUT_PAUSE[0].below_ms:g} ms is the limit"
    parser.add_argument("--no-pause", action="store_true", help=text)


def chosen(scenario: Scenario, given: Namespace) -> Scenario:
    """The scenario with these options. ValueError: it could not work."""
    if isinstance(scenario, Mixed):
        scenario = replace(scenario, devices=given.students, sandboxes=given.sandboxes, duration_s=given.duration)
        return replace(scenario, pause_s=(0.0, 0.0), latency=WITHOUT_PAUSE) if given.no_pause else scenario
    if isinstance(scenario, Shown):
        return replace(scenario, duration_s=given.duration, broken=given.broken)
    if isinstance(scenario, MultiLab):
        scenario = replace(scenario, students=given.students, devices=given.crowd)
        return replace(scenario, sandboxes=scenario.tracks)
    if isinstance(scenario, Fanout):
        return replace(scenario, devices=given.devices, rounds=given.rounds)
    if isinstance(scenario, Profile):
        return replace(scenario, devices=given.devices, duration_s=given.duration).compressed(given.compress)
    assert isinstance(scenario, ArrivalRate)
    if isinstance(scenario, Arrivals):
        scenario = replace(scenario, devices=given.sandboxes, warm_up_per_s=given.warm_up_rate)
        if scenario.rise:
            return scenario.compressed(given.compress)
        return replace(scenario, per_s=given.rate, duration_s=given.duration)
    devices = getattr(given, scenario.whom)
    scenario = replace(scenario, devices=devices, warm_up_per_s=given.warm_up_rate)
    if isinstance(scenario, Capacity):
        return replace(scenario, per_s=given.rate, duration_s=given.stage, most_per_s=given.most)
    per_s = devices / given.cadence if hasattr(given, "cadence") else given.rate
    return replace(scenario, per_s=per_s, duration_s=given.duration)
