"""Locust file of the demonstration of the platform; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.platform import PLATFORM

User = locust_file(PLATFORM)
