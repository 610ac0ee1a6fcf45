"""Schemathesis: its hooks, test data and verdict."""
