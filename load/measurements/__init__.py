"""What a run records and what it reads from the target afterwards. Nothing here judges."""
