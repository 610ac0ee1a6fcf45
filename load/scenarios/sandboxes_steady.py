"""Locust file of a steady load on the broker; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.arrival_rate import STEADY

User = locust_file(STEADY)
