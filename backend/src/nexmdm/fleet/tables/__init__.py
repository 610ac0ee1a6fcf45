"""The tables of the fleet, with the invariants that PostgreSQL itself keeps: keys, checks, indexes."""
