"""Locust file of the demonstration of the broker; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.students import SANDBOXES

User = locust_file(SANDBOXES)
