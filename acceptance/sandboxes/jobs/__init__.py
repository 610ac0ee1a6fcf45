"""What the jobs of the broker do with the provider and with the pool, at an admin's command and by schedule."""
