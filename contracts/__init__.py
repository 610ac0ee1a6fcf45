"""The contract suite: openapi.yaml against itself, against the code, and against a running service.

It imports nothing of the backend: what it knows comes from the file, from `nexmdm routes`, or over HTTP.
"""
