"""Cases of the fleet service."""
