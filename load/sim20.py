"""Locust file of the 20-device simulation (seed 000 B): `locust --headless -f load/sim20.py --host URL`.

What it takes and how it ends: load/user.py. It holds nothing of its own.
"""

from load.profiles import SIM20
from load.user import SimulatedDevice, locust_file

__all__ = ["SimulatedDevice"]  # Locust looks for users among a file's names

locust_file(SIM20)
