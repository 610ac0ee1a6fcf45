"""Locust file of 100 devices that post every 120 s (seed 001): `locust --headless -f load/fleet100.py --host URL`.

What it takes and how it ends: load/user.py. It holds nothing of its own.
"""

from load.profiles import FLEET100
from load.user import SimulatedDevice, locust_file

__all__ = ["SimulatedDevice"]  # Locust looks for users among a file's names

locust_file(FLEET100)
