"""Drift between the running backend and openapi.yaml, in both directions."""
