"""Locust file of half an hour of steady load; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.arrival_rate import SOAK

User = locust_file(SOAK)
