"""Locust file of the 20-device simulation (seed 000 B); load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.simulation import SIM20

User = locust_file(SIM20)
