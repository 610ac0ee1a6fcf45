"""Locust file of tasks in one zone; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.arrival_rate import SCHEDULER_ONE

User = locust_file(SCHEDULER_ONE)
