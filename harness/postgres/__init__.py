"""An embedded PostgreSQL server, its binaries, and backups."""
