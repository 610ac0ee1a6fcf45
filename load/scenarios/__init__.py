"""One Locust file per scenario."""
