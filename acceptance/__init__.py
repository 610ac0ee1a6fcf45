"""Acceptance cases of NexMDM and the pieces they stand on; imports the harness, never the backend."""
