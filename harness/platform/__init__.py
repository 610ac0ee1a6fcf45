"""Clients of the platform services: a zone's files by JSON-RPC, its events by REST and as a stream."""
