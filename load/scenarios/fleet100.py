"""Locust file of 100 devices that post every 120 s (seed 001):
`locust --headless -f load/scenarios/fleet100.py --host URL`.

What it takes and how it ends: load/locust_runner/users.py. It holds nothing of its own.
"""

from load.locust_runner.users import SimulatedUser, locust_file
from load.workloads.simulation import FLEET100

__all__ = ["SimulatedUser"]  # Locust looks for users among a file's names

locust_file(FLEET100)
