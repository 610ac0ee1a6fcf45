"""The tables of the fleet, with the invariants that PostgreSQL itself keeps: keys, checks, indexes."""

from nexmdm.fleet.tables import builds, commands, devices

__all__ = ["builds", "commands", "devices"]
