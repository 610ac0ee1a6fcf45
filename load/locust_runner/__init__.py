"""Locust as the runner of simulated devices, and as what distributes an arrival rate over processes."""
