"""Locust file of students of five labs, then a crowd; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.students import MULTI

User = locust_file(MULTI)
