"""Locust file of 10 students on 200 sandboxes (seed 003); load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.students import SMOKE

User = locust_file(SMOKE)
