"""Each check of the verifier is green on an honest run, and red on what a broken service would have left.

The database is the service's own; a plant first takes away the constraint that forbids it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from harness.postgres.server import Postgres
from harness.sandboxes.calls import ALLOCATE, RELEASE, Call
from harness.sandboxes.verify import snapshot, verify, verify_snapshot
from harness.tests.sandboxes.conftest import cloned
from harness.tests.sandboxes.history import COUNT, LABEL, History
from harness.verdict.thresholds import Status, judge

ALL = ["V1", "V2", "V3", "V4", "V5", "V6", "V7", "V8", "V9", "V10"]
OF_CALLS = {"V5", "V6", "V7", "V8"}
TWICE = "ALTER TABLE allocations DROP CONSTRAINT uq_allocations_sandbox_id"
TWO_LIVE = "DROP INDEX uq_allocations_live"
GIVEN_ONCE = "ALTER TABLE sandboxes DROP CONSTRAINT ck_sandboxes_given_once"
NO_SANDBOX = "ALTER TABLE allocations DROP CONSTRAINT fk_allocations_sandbox_id"
AGAIN = """
    INSERT INTO allocations (sandbox_id, track_id, duration_s, allocated_at, expires_at, grace_until, deadline,
        ended_at, end_reason)
    SELECT sandbox_id, 'thief', duration_s, allocated_at, expires_at, grace_until, deadline, {}
    FROM allocations WHERE track_id = '{}'
"""
MOVE = "UPDATE allocations SET track_id = '{}' WHERE track_id = '{}' AND ended_at IS NULL"
HAS = "UPDATE sandboxes SET {} WHERE sandbox_id = (SELECT sandbox_id FROM allocations WHERE track_id = '{}')"
ENDS = "UPDATE allocations SET ended_at = date_trunc('second', now()), end_reason = 'released' WHERE track_id = '{}'"
PENDING = "status = 'pending_deletion', next_attempt_at = now()"
FREE = "status = 'available', first_allocated_at = null"
GONE = "DELETE FROM allocations WHERE track_id = '{}'"
LATER = "UPDATE allocations SET {0} = {0} + interval '{1}' WHERE track_id = '{2}'"
DELETED = """
    UPDATE sandboxes SET status = 'deleted', deleted_at = now(), next_attempt_at = null
    WHERE status = 'pending_deletion'
"""
# What is planted, and each check that must be red for it.
PLANTS = {
    "live for two": ("V1 V3 V6 V7 V10", TWICE, AGAIN.format("null, null", "s1")),
    "a track has two": ("V2 V5 V6", TWO_LIVE, MOVE.format("s1", "s6")),
    "given again": ("V3 V6 V7 V10", TWICE, AGAIN.format("ended_at, end_reason", "s5")),
    "live and available": ("V4 V10", GIVEN_ONCE, HAS.format("status = 'available'", "s1")),
    "live and pending": ("V4 V10", HAS.format(PENDING, "s1")),
    "allocated to nobody": ("V4 V5 V7 V10", GONE.format("s6")),
    "its end is forgotten": ("V4 V5 V7 V10", GONE.format("s2") + " AND ended_at IS NOT NULL"),
    "given without a time": ("V4", "UPDATE sandboxes SET first_allocated_at = null WHERE status = 'pending_deletion'"),
    "no such sandbox": ("V4 V5 V6 V10", NO_SANDBOX, "UPDATE allocations SET sandbox_id = 'x' WHERE track_id = 's7'"),
    "expired too early": ("V4", "UPDATE allocations SET end_reason = 'expired' WHERE track_id = 's5'"),
    "an allocation is lost": ("V5 V7 V8", HAS.format(FREE, "s6"), NO_SANDBOX, GONE.format("s6")),
    "allocated earlier": ("V5", LATER.format("allocated_at", "-1 s", "s1")),
    "a fraction": ("V5", LATER.format("allocated_at", "-0.4 s", "s1")),
    "extended by nobody": ("V5", LATER.format("expires_at", "9 s", "s1")),
    "expires earlier": ("V5", LATER.format("expires_at", "-9 s", "s3")),
    "a release is lost": ("V2 V4 V5 V9 V10", TWO_LIVE, "UPDATE allocations SET ended_at = null, end_reason = null"),
    "released by nobody": ("V6", HAS.format(PENDING, "s6"), ENDS.format("s6")),
    "another's": ("V5 V6", MOVE.format("thief", "s6")),
    "deleted unasked": ("V9", DELETED),
    "one is missing": ("V4 V10", NO_SANDBOX, "DELETE FROM sandboxes WHERE sandbox_id = 'load-t-0'"),
}  # fmt: skip


@pytest.fixture(scope="module")
def honest(server: Postgres) -> Iterator[History]:
    with cloned(server) as database:
        made = History(database)
        made.go()
        yield made


@pytest.fixture
def run(honest: History) -> Iterator[History]:
    """The honest run, in a transaction that takes back what the test plants."""
    calls, deletions = [*honest.calls], [one.copy() for one in honest.provider.deletions]
    with honest.database.session.transaction(force_rollback=True):
        yield honest
    honest.calls, honest.provider.deletions = calls, deletions


def test_an_honest_run_is_green(run: History) -> None:
    found = run.judge()
    assert {one.id: one.detail for one in found.checks if one.status is not Status.PASS} == {}
    assert [one.id for one in found.checks] == ALL
    assert [(lab.name, lab.allocations, lab.live, lab.released) for lab in found.labs] == [
        ("", 4, 3, 1), ("lab-a", 3, 2, 1), ("lab-b", 1, 1, 0)
    ]  # fmt: skip
    assert found.pool == {"allocated": 6, "deleted": 1, "pending_deletion": 1}


@pytest.mark.parametrize("name", PLANTS)
def test_what_stands_in_the_database(run: History, name: str) -> None:
    wanted, *statements = PLANTS[name]
    run.plant(*statements)
    found = run.red()
    assert {*found} == {*wanted.split()}


def test_a_201_for_what_the_track_has_is_none_of_its_own(run: History) -> None:
    run.note(run.calls[0]._replace(asked_at=time.time(), ended_at=time.time()))
    assert {*run.red()} == {"V7"}


def test_a_replay_is_of_the_tracks_own_and_not_of_what_it_has_released(run: History) -> None:
    run.note(run.calls[0]._replace(track_id="s7", status=200))
    found = run.red()
    assert {*found} == {"V5"}
    assert "track s7: allocate of" in found["V5"]
    run.calls.pop()
    [released, *_] = [call for call in run.calls if call.kind == RELEASE]
    [first] = [call for call in run.calls if call.sandbox_id == released.sandbox_id and call.status == 201]
    run.note(first._replace(status=200, asked_at=time.time(), ended_at=time.time()))
    assert "it had been released" in run.red()["V5"]


def test_who_was_told_that_nothing_is_free_has_nothing(run: History) -> None:
    [call] = [call for call in run.calls if call.track_id == "s7"]
    run.calls.remove(call)
    run.note(call._replace(status=409, sandbox_id="", allocated_at=0, expires_at=0))
    found = run.red()
    assert {*found} == {"V6", "V7"}
    assert "answers to it: 409" in found["V6"]


def test_a_stranger_is_seen_by_the_label_alone(run: History) -> None:
    run.plant(MOVE.format("thief", "s4"))
    run.calls = [call for call in run.calls if call.track_id != "s4"]
    assert {*run.red()} == {"V6", "V7"}
    assert run.red(label=None, seeded=None) == {}


def test_a_409_while_something_is_free_is_a_fault(run: History) -> None:
    given = run.database.execute("SELECT extract(epoch FROM max(first_allocated_at))::float8 FROM sandboxes")
    last = float(str(given[0][0]))
    run.note(Call(ALLOCATE, "s9", last - 0.5, last - 0.001, 409))
    assert {*run.red()} == {"V8"}
    run.calls.pop()
    run.note(Call(ALLOCATE, "s9", last - 0.5, last + 0.001, 409))
    assert run.red() == {}
    run.plant("INSERT INTO sandboxes (sandbox_id, external_id, name, status, made_available_at, status_since) "
              "VALUES ('y', 'y', '', 'stale', now() - interval '1 min', now() + interval '9 s')")  # fmt: skip
    assert {*run.red()} == {"V8"}


@pytest.mark.parametrize("track", ["s1", "s2"])
def test_the_provider_is_not_asked_to_delete_what_is_live_or_before_it_ended(run: History, track: str) -> None:
    query = "SELECT split_part(external_id, '/', 3) FROM sandboxes JOIN allocations USING (sandbox_id)"
    [(its_id,), *_] = run.database.execute(f"{query} WHERE track_id = '{track}' ORDER BY ended_at")
    run.provider.delete(str(its_id))
    if track == "s2":
        assert run.red() == {}
        run.provider.deletions[-1]["at"] -= 60
    assert {*run.red()} == {"V9"}


def test_what_was_given_up_needs_no_word_of_the_provider(run: History) -> None:
    run.provider.deletions[0]["status"] = 500
    assert {*run.red()} == {"V9"}
    run.plant("UPDATE sandboxes SET last_error = 'HTTP 500' WHERE status = 'deleted'")
    assert run.red() == {}


def test_an_empty_record_or_pool_proves_nothing(run: History) -> None:
    checks = run.judge(calls=[]).checks
    assert {one.id for one in checks if one.status is Status.INCONCLUSIVE} == OF_CALLS
    assert run.judge(label="typo", seeded=None).checks[-1].status is Status.INCONCLUSIVE
    assert "8 sandboxes were seeded as typo, 0 are there" in run.red(label="typo")["V10"]
    run.plant("TRUNCATE allocations", "DELETE FROM sandboxes")
    checks = verify_snapshot(run.database.session, None, label=None, seeded=None, provider=None).checks
    assert judge([], checks).status is Status.INCONCLUSIVE
    assert {one.status for one in checks} == {Status.INCONCLUSIVE, Status.DISABLED}


def test_it_needs_to_read_two_tables_and_can_write_none(honest: History) -> None:
    honest.plant("CREATE ROLE looker LOGIN", "GRANT SELECT ON sandboxes, allocations TO looker")
    url = honest.database.url.replace("postgres@", "looker@")
    found = verify(url, honest.calls, label=LABEL, seeded=COUNT)
    assert {one.id for one in found.checks if one.status is not Status.PASS} == {"V9"}
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), snapshot(honest.database.url) as session:
        session.execute("DELETE FROM allocations")


def test_what_is_not_given_is_not_judged(honest: History) -> None:
    checks = verify(honest.database.reader_url).checks
    assert {one.id for one in checks if one.status is Status.DISABLED} == OF_CALLS | {"V9"}
    assert all(one.detail for one in checks)
