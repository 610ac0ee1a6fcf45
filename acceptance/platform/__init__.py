"""Zones, their files and their events."""
