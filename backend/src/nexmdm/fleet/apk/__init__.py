"""Builds of the agent: uploaded once, kept under their SHA-256, downloaded by devices. It never changes a build."""
