"""Seeded mutants: broken backends, each of which the suites must turn red for the right reason.

Imports no suite: it runs them as a user would, and reads their result.json.
"""
