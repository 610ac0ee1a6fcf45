"""Locust file of small files written into 50 zones; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.arrival_rate import PLATFORM_WRITES

User = locust_file(PLATFORM_WRITES)
