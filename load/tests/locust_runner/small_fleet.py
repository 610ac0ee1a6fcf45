"""A Locust file of a small fleet on pretended ground, for a tiny server that knows no database. It judges like the real
ones, and compares the server's own count with what was answered."""

import time
from dataclasses import replace

from harness.http.client import Client
from harness.settings import Target
from harness.verdict.thresholds import Check, Status
from load.arrival_rate.target import Left, answer
from load.locust_runner.arrival_rate_file import Idle, locust_file
from load.measurements.observations import read_metrics
from load.measurements.server_clock import ServerClock
from load.workloads.arrival_rate import FLEET_SCALE

__all__ = ["Idle"]


class Pretended:
    def __init__(self, target: Target) -> None:
        self.client = Client(target.base_url)

    def seed(self, count: int) -> list[str]:
        return [f"nxd_{number:08x}" for number in range(count)]

    def clock(self) -> ServerClock:
        return ServerClock(time.time() - time.monotonic(), 0.0, "this machine")

    def begin(self, run: str, now: float) -> None:  # noqa: ARG002  # as Ground has it
        read_metrics(self.client, run)

    def checks(self, run: str, left: Left, bucket_s: float) -> list[Check]:  # noqa: ARG002  # as Ground has it
        def count() -> tuple[Status, str]:
            counted = sum(read_metrics(self.client, run).values())
            return Status.PASS if counted == left.answered else Status.FAIL, f"{counted:.0f} of {left.answered}"

        return [answer("counters", "the server counted what was answered", count)]


# An odd number: the workers' shares differ.
locust_file(
    replace(FLEET_SCALE, devices=101, per_s=400.0, duration_s=3.0, settle_s=0.1, timeout_s=1.0, lag_ms=500.0), Pretended
)
