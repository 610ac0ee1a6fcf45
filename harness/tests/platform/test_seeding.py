"""Zones that are seeded under a label have a member's key each, and removing takes them alone, with all they hold."""

from __future__ import annotations

import hashlib

import psycopg
import pytest

from harness.platform import seeding
from harness.tests.sandboxes.conftest import Database

KEYS = [f"nxk_{letter * 43}" for letter in "ab"]
FILE = "INSERT INTO files (zone_id, path, kind, size, etag, content) VALUES (%s, '/a', 'file', 1, 'e', 'x')"
EVENT = "INSERT INTO events (zone_id, sequence_number, occurred_at, type, path) VALUES (%s, 1, now(), 'write', '/a')"


def zones(database: Database) -> set[str]:
    return {str(row[0]) for row in database.execute("SELECT zone_id FROM zones")}


def test_each_zone_has_the_key_of_a_member(database: Database) -> None:
    seeding.seed(database.url, "run1", KEYS)
    hashes = [hashlib.sha256(key.encode()).hexdigest() for key in KEYS]
    rows = database.execute("SELECT key_hash, role, zone, services FROM api_keys ORDER BY zone")
    assert rows == [(one, "member", f"load-run1-{n}", None) for n, one in enumerate(hashes)]
    assert zones(database) == {"root", "load-run1-0", "load-run1-1"}
    assert database.execute("SELECT DISTINCT used_bytes, files, event_seq FROM zones") == [(0, 0, 0)]


def test_removing_takes_the_labels_own_with_all_they_hold(database: Database) -> None:
    seeding.seed(database.url, "x", KEYS)
    seeding.seed(database.url, "y", [f"nxk_{'c' * 43}"])
    for zone in ("load-x-0", "load-x-1", "load-y-0"):
        database.execute(FILE, zone)
        database.execute(EVENT, zone)
    seeding.remove(database.url, "x", 2)
    assert zones(database) == {"root", "load-y-0"}
    for table, column in (("files", "zone_id"), ("events", "zone_id"), ("api_keys", "zone")):
        assert database.execute(f"SELECT {column} FROM {table}") == [("load-y-0",)]


def test_a_label_is_seeded_once(database: Database) -> None:
    seeding.seed(database.url, "x", KEYS[:1])
    with pytest.raises(psycopg.errors.UniqueViolation):
        seeding.seed(database.url, "x", KEYS)
    assert len(zones(database)) == 2
