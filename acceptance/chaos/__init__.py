"""Faults under load: each is done to a live system that takes writes, and a ledger says what became of them."""
