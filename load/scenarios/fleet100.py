"""Locust file of 100 devices that post every 120 s (seed 001); load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.simulation import FLEET100

User = locust_file(FLEET100)
