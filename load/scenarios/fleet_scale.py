"""Locust file of the 100,000-device fleet; load/locust_runner/locustfile.py says how it ends."""

from load.locust_runner.locustfile import locust_file
from load.workloads.arrival_rate import FLEET_SCALE

User = locust_file(FLEET_SCALE)
