"""Locust file of small files written into one zone; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.arrival_rate import PLATFORM_WRITES_ONE

User = locust_file(PLATFORM_WRITES_ONE)
