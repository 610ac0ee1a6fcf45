"""Requests at a rate that the server cannot slow down (an open loop), sent for a seeded fleet."""
