"""The lint of openapi.yaml."""
