"""Locust file of up to 1,000 arrivals a second at the broker; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.arrival_rate import STAGED

User = locust_file(STAGED)
