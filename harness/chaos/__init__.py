"""Faults of the machine: a small disk, a moved clock."""
