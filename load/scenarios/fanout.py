"""Locust file of one signed command to 1,000 devices; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.simulation import FANOUT

User = locust_file(FANOUT)
