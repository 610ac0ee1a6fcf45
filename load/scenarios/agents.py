"""Locust file of heartbeats of a platform's agents; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.arrival_rate import AGENTS

User = locust_file(AGENTS)
