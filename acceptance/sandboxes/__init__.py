"""The broker of sandboxes: what a track may do, what an admin may do, what the jobs do with the provider."""
