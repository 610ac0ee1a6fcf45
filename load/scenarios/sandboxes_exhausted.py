"""Locust file of an exhausted pool; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.arrival_rate import EXHAUSTED

User = locust_file(EXHAUSTED)
