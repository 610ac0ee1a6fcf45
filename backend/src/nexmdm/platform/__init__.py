"""Zones with their files and events: the platform of seed 004."""
