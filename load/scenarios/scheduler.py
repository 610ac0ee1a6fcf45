"""Locust file of tasks in ten zones; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.arrival_rate import SCHEDULER

User = locust_file(SCHEDULER)
