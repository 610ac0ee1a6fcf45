"""Seeded mutants: broken backends, each of which the suites must turn red for the right reason.

Imports no suite: it runs their commands, or pytest in its workers, and reads their result.json.
"""
