"""A book: a ledger, an audit of an empty database, and a hand that writes there what it likes.

The tables are real ones without any constraint, so that a test can do what the service's own would refuse.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import psycopg

from harness.http.transport import Answer, TransportError
from harness.oracles.findings import Findings
from harness.oracles.history import Kind, Ledger
from harness.oracles.reconcile import BUCKET_S, Audit
from harness.postgres.server import Postgres

TABLES = """
    CREATE TABLE enrollment_tokens (alias text, token_id text, revoked_at timestamptz);
    CREATE TABLE devices (alias text, device_id text, token_version int DEFAULT 1, retired_at timestamptz);
    CREATE TABLE device_heartbeats (device_id text, bucket timestamptz);
    CREATE TABLE fcm_dispatches (
        request_id text, command_request_id text, device_id text, status text DEFAULT 'sent', completed_at timestamptz);
    CREATE TABLE dispatch_transitions (request_id text, status text);
    CREATE TABLE apk_versions (package_name text, version_code int, sha256 text);
    CREATE TABLE sandboxes (sandbox_id text, status text, external_id text);
    CREATE TABLE allocations (
        allocation_id serial, sandbox_id text, track_id text, allocated_at timestamptz, ended_at timestamptz,
        end_reason text, grace_until timestamptz);
    CREATE TABLE zones (
        zone_id text, used_bytes bigint DEFAULT 0, files bigint DEFAULT 0, reserved_bytes bigint DEFAULT 0,
        uploads_open bigint DEFAULT 0, event_seq bigint DEFAULT 0);
    CREATE TABLE files (zone_id text, path text, size bigint, etag text, version bigint DEFAULT 1);
    CREATE TABLE events (zone_id text, sequence_number bigint, type text DEFAULT 'write', path text);
    CREATE TABLE uploads (
        zone_id text, path text, upload_offset bigint, reserved bigint DEFAULT 0, finished_at timestamptz);
"""
NOW = datetime(2026, 11, 21, 12, 0, 3, tzinfo=UTC)


class Book:
    """A ledger, an audit of an empty database, and a hand that writes there what it likes."""

    def __init__(self, server: Postgres) -> None:
        self.url = server.clone(f"book_{time.monotonic_ns()}")
        self.now = NOW.timestamp()
        self.ledger = Ledger(lambda: self.now)
        self.audit = Audit(server.reader_url(self.url))

    def write(
        self,
        kind: Kind,
        key: str,
        *promises: Any,
        status: int = 200,
        lost: bool = False,
        retry_after: bool = True,
        fact: str | None = None,
    ) -> Any:
        def send() -> Answer:
            if lost:
                raise TransportError("reset")
            headers = {"retry-after": "1"} if retry_after else {}
            return Answer(status, headers, b'{"code": "some_code"}', 1.0, None)

        facts = {} if fact is None else {"some_code": fact}
        return self.ledger.write(kind, key, send, lambda _: promises, facts=facts)

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.url) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def beat(self, *promises: Any, **how: Any) -> None:
        self.write("heartbeat", "d-1", *promises, **how)

    def row(self, device: str = "d-1", after_s: float = 0.0) -> None:
        bucket = (self.now + after_s) // BUCKET_S * BUCKET_S
        self.execute(f"INSERT INTO device_heartbeats VALUES ('{device}', to_timestamp({bucket}))")

    def compare(self, inbox: list[dict[str, Any]] | None = None, **options: Any) -> Findings:
        return self.audit.compare(self.ledger, inbox, **options)


def clean(found: Findings) -> bool:
    return not (found.missing or found.doubled or found.unasked)
