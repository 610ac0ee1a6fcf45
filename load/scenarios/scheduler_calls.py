"""Locust file of few calls of a scheduler; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.arrival_rate import SCHEDULER_CALLS

User = locust_file(SCHEDULER_CALLS)
