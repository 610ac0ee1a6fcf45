"""Locust file of the 100,000-device fleet: `locust --headless -f load/scenarios/fleet_scale.py --host URL`.

What it takes and how it ends: load/locust_runner/arrival_rate_file.py; `--processes 2` makes it several processes.
It holds nothing of its own.
"""

from load.locust_runner.arrival_rate_file import Idle, locust_file
from load.workloads.arrival_rate import FLEET_SCALE

__all__ = ["Idle"]  # Locust looks for users among a file's names

locust_file(FLEET_SCALE)
