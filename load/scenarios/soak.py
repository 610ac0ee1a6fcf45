"""Locust file of the half hour of steady load: `locust --headless -f load/scenarios/soak.py --host URL`.

What it takes and how it ends: load/locust_runner/arrival_rate_file.py; `--processes 2` makes it several processes.
It holds nothing of its own.
"""

from load.locust_runner.arrival_rate_file import Idle, locust_file
from load.workloads.arrival_rate import SOAK

__all__ = ["Idle"]  # Locust looks for users among a file's names

locust_file(SOAK)
