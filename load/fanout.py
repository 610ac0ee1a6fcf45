"""Locust file of one signed command to 1,000 devices: `locust --headless -f load/fanout.py --host URL`.

What it takes and how it ends: load/user.py. It holds nothing of its own.
"""

from load.profiles import FANOUT
from load.user import SimulatedDevice, locust_file

__all__ = ["SimulatedDevice"]  # Locust looks for users among a file's names

locust_file(FANOUT)
