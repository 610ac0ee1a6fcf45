"""Sandboxes that are seeded under a label can be given out, and removing takes them alone."""

from __future__ import annotations

import re

import pytest

from harness.api_keys import delete_key, insert_key
from harness.sandboxes import seeding
from harness.tests.sandboxes.conftest import Database

ALLOCATE = "SELECT outcome, sandbox_id FROM nexmdm_allocate_sandbox('{}', '{}', null, null, 60, 30, 600, 0, 10)"


def ids(database: Database) -> set[str]:
    return {str(row[0]) for row in database.execute("SELECT sandbox_id FROM sandboxes")}


def allocate(database: Database, track: str) -> str:
    """Give a sandbox out as the service does; its id."""
    insert_key(database.url, "track")
    [(key_hash,)] = database.execute("SELECT key_hash FROM api_keys LIMIT 1")
    [(outcome, sandbox_id)] = database.execute(ALLOCATE.format(key_hash, track))
    assert outcome == "new"
    return str(sandbox_id)


def test_what_is_seeded_is_free_and_looks_like_the_providers(database: Database) -> None:
    told: list[tuple[int, int]] = []
    seeding.seed(database.url, "run-1", 30, progress=lambda done, of: told.append((done, of)))
    rows = database.execute("SELECT sandbox_id, external_id, status FROM sandboxes")
    assert {row[0] for row in rows} == {f"load-run-1-{n}" for n in range(30)}
    shape = re.compile("identity/accounts/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert all(shape.fullmatch(str(row[1])) and row[2] == "available" for row in rows)
    assert allocate(database, "track-1") in ids(database)
    assert told == [(30, 30)]


def test_batches_leave_no_gap(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeding, "_BATCH", 7)
    seeding.seed(database.url, "x", 30)
    assert len(ids(database)) == 30
    assert seeding.remove(database.url, "x") == 30
    assert ids(database) == set()


def test_keys_are_removed_and_no_others(database: Database) -> None:
    mine = [insert_key(database.url, "track"), insert_key(database.url, "admin")]
    insert_key(database.url, "admin")
    for secret in [*mine, mine[0]]:
        delete_key(database.url, secret)
    assert database.execute("SELECT role FROM api_keys") == [("admin",)]


def test_a_label_is_seeded_once(database: Database) -> None:
    seeding.seed(database.url, "x", 2)
    with pytest.raises(seeding.SeedingError, match="remove them first"):
        seeding.seed(database.url, "x", 2)
    assert len(ids(database)) == 2


@pytest.mark.parametrize("label", ["", "-x", "x_", "X", "x.y", "x" * 41, "ü", "x\n", "%"])
def test_a_label_of_which_no_id_can_be_made_is_refused(label: str) -> None:
    for use in (lambda: seeding.seed("", label, 1), lambda: seeding.remove("", label)):
        with pytest.raises(seeding.SeedingError, match="1 to 40 of"):
            use()


def test_removing_takes_the_labels_own_and_their_ledger(database: Database) -> None:
    for label in ("x", "x-1", "x-1-2", "y"):
        seeding.seed(database.url, label, 3)
    insert = "INSERT INTO sandboxes (sandbox_id, external_id, name, status, made_available_at) VALUES "
    database.execute(f"{insert} ('load-x-', 'e1', '', 'available', now()), ('load-x-1a', 'e2', '', 'available', now())")
    given = {allocate(database, f"track-{n}") for n in range(10)}
    assert seeding.remove(database.url, "x-1") == 3
    gone = {f"load-x-1-{n}" for n in range(3)}
    assert len(ids(database)) == 11
    assert not ids(database) & gone
    assert {str(row[0]) for row in database.execute("SELECT sandbox_id FROM allocations")} == given - gone
    assert seeding.remove(database.url, "x-1") == 0
