"""Cases of attacks."""
