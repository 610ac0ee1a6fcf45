"""Locust file of the 20-device simulation (seed 000 B): `locust --headless -f load/scenarios/sim20.py --host URL`.

What it takes and how it ends: load/locust_runner/users.py. It holds nothing of its own.
"""

from load.locust_runner.users import SimulatedUser, locust_file
from load.workloads.simulation import SIM20

__all__ = ["SimulatedUser"]  # Locust looks for users among a file's names

locust_file(SIM20)
