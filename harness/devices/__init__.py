"""Simulated devices, one by one or as a seeded fleet."""
