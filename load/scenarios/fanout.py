"""Locust file of one signed command to 1,000 devices: `locust --headless -f load/scenarios/fanout.py --host URL`.

What it takes and how it ends: load/locust_runner/users.py. It holds nothing of its own.
"""

from load.locust_runner.users import SimulatedUser, locust_file
from load.workloads.simulation import FANOUT

__all__ = ["SimulatedUser"]  # Locust looks for users among a file's names

locust_file(FANOUT)
