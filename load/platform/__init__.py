"""The demonstration of the platform: agents that work in zones, what happens beside them, and what must be left."""
