"""Locust file of the search for the knee: `locust --headless -f load/capacity.py --host URL`.

What it takes and how it ends: load/arrivals/locust_file.py; `--processes 2` makes it several processes.
It holds nothing of its own.
"""

from load.arrivals.locust_file import Idle, locust_file
from load.arrivals.profiles import CAPACITY

__all__ = ["Idle"]  # Locust looks for users among a file's names

locust_file(CAPACITY)
