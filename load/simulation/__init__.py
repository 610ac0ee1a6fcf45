"""Devices that are simulated one by one: they enrol, send heartbeats, take commands and answer."""
