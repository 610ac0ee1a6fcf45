"""HTTP clients of the harness, and what they record."""
