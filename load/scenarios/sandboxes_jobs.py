"""Locust file of students beside the jobs of the pool; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.arrival_rate import JOBS

User = locust_file(JOBS)
