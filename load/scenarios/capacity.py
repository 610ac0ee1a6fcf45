"""Locust file of the search for the knee; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.arrival_rate import CAPACITY

User = locust_file(CAPACITY)
