"""Locust file of 100 students on 100 sandboxes (seed 003); load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.students import STRESS

User = locust_file(STRESS)
