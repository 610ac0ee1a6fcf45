"""The options of open arrivals, the same on both command lines, ours and Locust's. It reads no environment."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import replace

from load.workloads.arrival_rate import FLEET_SCALE, Capacity, Fleet


def seconds(text: str) -> float:
    """`90`, `90s`, `3m`, `1h`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r}: a number with s, m or h, such as 30s")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2] or "s"]


def add_options(parser: ArgumentParser, fleet: Fleet) -> None:
    """Those that this scenario has."""
    parser.add_argument("--devices", type=int, default=fleet.devices, metavar="N", help="how many are seeded")
    if isinstance(fleet, Capacity):
        parser.add_argument(
            "--rate", type=float, default=fleet.per_s, metavar="R", help="heartbeats/s of the first stage"
        )
        parser.add_argument(
            "--most", type=float, default=fleet.most_per_s, metavar="R", help="no stage beyond this rate"
        )
        parser.add_argument("--stage", type=seconds, default=fleet.duration_s, metavar="10s", help="length of a stage")
    else:
        parser.add_argument(
            "--duration", type=seconds, default=fleet.duration_s, metavar="90s", help="of what is measured"
        )
        if fleet.name == FLEET_SCALE.name:
            cadence = fleet.devices / fleet.per_s
            parser.add_argument("--cadence", type=seconds, default=cadence, metavar="120s", help="of each device")
        else:
            parser.add_argument(
                "--rate", type=float, default=fleet.per_s, metavar="R", help="heartbeats/s of all devices"
            )
    text = "first heartbeats/s, at most; they are not judged"
    parser.add_argument("--warm-up-rate", type=float, default=fleet.warm_up_per_s, metavar="R", help=text)
    parser.add_argument("--seed", type=int, default=None, metavar="S", help="repeat the schedule of an earlier run")


def chosen(fleet: Fleet, given: Namespace) -> Fleet:
    """The scenario with these options. ValueError: it could not work."""
    fleet = replace(fleet, devices=given.devices, warm_up_per_s=given.warm_up_rate)
    if isinstance(fleet, Capacity):
        return replace(fleet, per_s=given.rate, duration_s=given.stage, most_per_s=given.most)
    per_s = given.devices / given.cadence if hasattr(given, "cadence") else given.rate
    return replace(fleet, per_s=per_s, duration_s=given.duration)
