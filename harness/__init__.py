"""The harness: starts a NexMDM stack, talks to it over HTTP, and reads what it left behind.

It knows nothing of pytest, Locust, Schemathesis or the backend's code.
"""
