"""The rows of zones: what the database refuses to every writer, and calls that meet another's change of their rows."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest

from acceptance.platform.test_zone_requests import blocked, refusal
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.locks import unfinished
from acceptance.system.match import accepted, refused
from acceptance.system.roles import Connection, as_owner
from acceptance.system.system import System, new_alias
from harness.http.client import Answer
from harness.platform.uploads import begin
from harness.platform.zone import Zone
from harness.waiting import eventually

WITHOUT_FILES = "delete from files where zone_id = %(zone)s;"
# By constraint, statements of which it refuses the last. /a lies in its row, /b in the store, /c is a directory; of an
# upload the first byte is there.
REFUSED = {
    "pk_zones": "insert into zones (zone_id, name) values ('root', 'another')",
    "uq_zones_uid": "update zones set uid = (select uid from zones where zone_id = 'root') where zone_id = %(zone)s",
    "ck_zones_zone_id": "insert into zones (zone_id, name) values ('A', 'a')",
    "ck_zones_phase": "update zones set phase = 'Gone' where zone_id = %(zone)s",
    "ck_zones_root_stays": "update zones set phase = 'Terminating', terminating_at = now() where zone_id = 'root'",
    "ck_zones_terminating_has_time": "update zones set phase = 'Terminating' where zone_id = %(zone)s",
    "ck_zones_limits": "update zones set max_files = -1 where zone_id = %(zone)s",
    "ck_zones_usage": "update zones set used_bytes = -1 where zone_id = %(zone)s",
    "ck_zones_event_seq": "update zones set event_seq = -1 where zone_id = %(zone)s",
    "pk_zone_finalizers": "insert into zone_finalizers select %(zone)s, 1, 'files' from generate_series(1, 2)",
    "fk_zone_finalizers_zone_id": "insert into zone_finalizers values ('nobody-s', 1, 'files')",
    "ck_zone_finalizers_removed": "insert into zone_finalizers values (%(zone)s, 1, 'files', -1)",
    "pk_files": "update files set path = '/a' where zone_id = %(zone)s and path = '/c'",
    "uq_files_file_id": "update files set file_id = (select file_id from files where zone_id = %(zone)s limit 1)"
    " where zone_id = %(zone)s",
    "fk_files_zone_id": "delete from zones where zone_id = %(zone)s",
    "ck_files_path": "update files set path = 'a' where zone_id = %(zone)s and path = '/a'",
    "ck_files_kind": "update files set kind = 'link' where zone_id = %(zone)s and path = '/c'",
    "ck_files_file_has_etag": "update files set etag = null where zone_id = %(zone)s and path = '/a'",
    "ck_files_directory_is_empty": "update files set size = 1 where zone_id = %(zone)s and path = '/c'",
    "ck_files_size": "update files set version = 0 where zone_id = %(zone)s and path = '/a'",
    "ck_files_content": "update files set size = 9 where zone_id = %(zone)s and path = '/a'",
    "ck_files_content_is_small": "update files set content = repeat('x', 65537)::bytea, size = 65537"
    " where zone_id = %(zone)s and path = '/a'",
    "pk_objects": "insert into objects select * from objects where zone_id = %(zone)s",
    "fk_objects_zone_id": "delete from files where zone_id = %(zone)s; delete from zones where zone_id = %(zone)s",
    "ck_objects_size": "update objects set size = 0 where zone_id = %(zone)s",
    "ck_objects_sha256": "update objects set sha256 = 'a' where zone_id = %(zone)s",
    "pk_file_parts": "insert into file_parts select * from file_parts where zone_id = %(zone)s",
    "uq_file_parts_object_id": "insert into file_parts select zone_id, file_id, 2, object_id from file_parts"
    " where zone_id = %(zone)s",
    "fk_file_parts_file_id": "update file_parts set file_id = gen_random_uuid() where zone_id = %(zone)s",
    "fk_file_parts_object_id": "delete from uploads where zone_id = %(zone)s;"
    " delete from objects where zone_id = %(zone)s",
    "ck_file_parts_number": "update file_parts set number = 0 where zone_id = %(zone)s",
    "pk_events": "update events set sequence_number = 1 where zone_id = %(zone)s and sequence_number = 2",
    "uq_events_event_id": "update events set event_id = (select event_id from events where zone_id = %(zone)s limit 1)"
    " where zone_id = %(zone)s",
    "fk_events_zone_id": f"{WITHOUT_FILES} delete from uploads where zone_id = %(zone)s;"
    " delete from objects where zone_id = %(zone)s; delete from zones where zone_id = %(zone)s",
    "ck_events_sequence_number": "update events set sequence_number = 0 where zone_id = %(zone)s"
    " and sequence_number = 1",
    "ck_events_type": "update events set type = 'other' where zone_id = %(zone)s",
    "ck_events_rename_has_new_path": "update events set new_path = '/d' where zone_id = %(zone)s",
    "pk_uploads": "insert into uploads select * from uploads where zone_id = %(zone)s",
    "fk_uploads_zone_id": f"{WITHOUT_FILES} delete from upload_parts where zone_id = %(zone)s;"
    " delete from objects where zone_id = %(zone)s; delete from events where zone_id = %(zone)s;"
    " delete from zones where zone_id = %(zone)s",
    "ck_uploads_path": "update uploads set path = 'a' where zone_id = %(zone)s",
    "ck_uploads_upload_offset": "update uploads set upload_offset = length + 1 where zone_id = %(zone)s",
    "ck_uploads_length": "update uploads set reserved = -1 where zone_id = %(zone)s",
    "ck_uploads_finished_is_whole": "update uploads set finished_at = now(), reserved = 0 where zone_id = %(zone)s",
    "pk_upload_parts": "insert into upload_parts select * from upload_parts where zone_id = %(zone)s",
    "uq_upload_parts_object_id": "insert into upload_parts select zone_id, upload_id, 2, object_id from upload_parts"
    " where zone_id = %(zone)s",
    "fk_upload_parts_upload_id": "update upload_parts set upload_id = gen_random_uuid() where zone_id = %(zone)s",
    "fk_upload_parts_object_id": f"{WITHOUT_FILES} delete from objects where zone_id = %(zone)s",
    "ck_upload_parts_number": "update upload_parts set number = 0 where zone_id = %(zone)s",
    "pk_bricks": "insert into bricks (name) values ('files')",
    "ck_bricks_failed_is_mounted": "update bricks set mounted = false, error = 'a' where name = 'agents'",
    "pk_brick_needs": "insert into brick_needs (brick, needs) values ('uploads', 'files')",
    "fk_brick_needs_brick": "insert into brick_needs (brick, needs) values ('nothing', 'files')",
    "fk_brick_needs_needs": "update bricks set mounted = false where name = 'files'",
}
HAVE_A_CASE = {  # of their own
    *("agents", "agent_capabilities", "tasks", "task_attempts"),
    *("mounts", "mount_changes", "mount_bases", "mount_conflicts", "mount_runs"),
}
OF_KEYS = {
    "ck_api_keys_zone": "update api_keys set zone = null where zone = %(zone)s",
    "ck_api_keys_subject": "update api_keys set role = 'agent', subject = 'a b' where zone = %(zone)s",
    "ck_api_keys_agent_has_subject": "update api_keys set subject = 'me' where zone = %(zone)s",
}
NAMES = """
    select conname from pg_constraint where contype in ('c', 'f', 'p', 'u') and conrelid = any (%s::regclass[])
"""
TAKE = """
    insert into file_parts (zone_id, file_id, number, object_id)
    select f.zone_id, f.file_id, 2, o.object_id from files f join objects o using (zone_id)
    where f.zone_id = %(zone)s and f.path = '/b' and o.pinned_until < 'infinity'
"""
PINNED = """
    insert into objects (zone_id, object_id, size, sha256, pinned_until)
    values (%(zone)s, gen_random_uuid(), 1, repeat('a', 64), clock_timestamp() + %(lasts)s)
"""
GROW = "update zones set files = files + %s, used_bytes = used_bytes + %s where zone_id = %s"


@pytest.fixture
def filled(zone: Zone) -> Zone:
    zone.write("/a", "text")
    zone.write("/b", "x" * 70_000)
    zone.rpc("mkdir", path="/c")
    return zone


@case("zone-rows/001")
def test_the_database_refuses_what_cannot_be(system: System, platform: Platform, filled: Zone) -> None:
    """Each constraint of each table of the platform refuses a change that breaks it, to every role (platform.md)."""
    begin(filled, "/d", 2, content=b"x")
    with as_owner(system) as owner, platform.unchanged():
        for name, statements in (REFUSED | OF_KEYS).items():
            assert refused_by(owner, statements.split(";"), filled.zone_id) == name
        tables = {*platform.tables(), "bricks", "brick_needs"} - HAVE_A_CASE
        there = owner.execute(NAMES, [[*tables]]).fetchall()
    assert {name for (name,) in there} == REFUSED.keys()


def refused_by(owner: Connection, statements: list[str], zone_id: str) -> str | None:
    """The constraint that refuses one of the statements, all of which are undone."""
    try:
        with owner.transaction(force_rollback=True):
            for statement in statements:
                owner.execute(statement.encode(), {"zone": zone_id})
    except psycopg.errors.IntegrityError as error:
        return error.diag.constraint_name
    return None


@case("zone-rows/002")
def test_a_file_takes_what_is_pinned(system: System, filled: Zone) -> None:
    """A file takes an object for as long as it is pinned, not after; one that it lets go of may be swept at once."""
    with as_owner(system) as owner, owner.transaction(force_rollback=True):
        for lasts, taken in (("-1 second", False), ("1 hour", True)):
            owner.execute(PINNED, {"zone": filled.zone_id, "lasts": lasts})
            try:
                with owner.transaction():
                    owner.execute(TAKE, {"zone": filled.zone_id})
            except psycopg.errors.ForeignKeyViolation:
                assert not taken
            else:
                assert taken
            owner.execute("delete from objects where zone_id = %s and pinned_until < now()", [filled.zone_id])
        pins = "select count(*) from objects where zone_id = %s and pinned_until {} 'infinity'"
        assert owner.execute(pins.format("=").encode(), [filled.zone_id]).fetchone() == (2,)
        owner.execute("delete from files where zone_id = %s", [filled.zone_id])
        assert owner.execute(pins.format("<").encode(), [filled.zone_id]).fetchone() == (2,)


@contextmanager
def meeting(
    platform: Platform, call: Callable[[], Answer], statement: str, *values: object
) -> Iterator[tuple[Connection, list[Answer]]]:
    """A transaction in which the block goes on once the call waits for it; committed at its end, with the answer."""
    answers: list[Answer] = []
    with psycopg.connect(platform.system.target.database_url or "") as other, ThreadPoolExecutor(1) as pool:
        other.execute(statement.encode(), values)
        waiting = pool.submit(call)
        eventually(partial(blocked, platform.system, 1), within_s=4.0)
        yield other, answers
        other.commit()
        answers.append(waiting.result())


@case("zone-rows/003", "createKey 409")
def test_a_key_is_made_before_the_end_of_its_zone_or_not(platform: Platform, zone: Zone) -> None:
    """A key that is made while its zone is closed is refused: none is left of a zone that is gone (platform.md)."""
    create = partial(
        platform.admin, "POST", "/api/keys", json={"name": new_alias(), "role": "member", "zone": zone.zone_id}
    )
    phase = "update zones set phase = %s, terminating_at = %s where zone_id = %s"
    with meeting(platform, create, phase, "Terminating", "now", zone.zone_id) as (_, answers):
        pass
    refused(answers[0], 409, "zone_terminating")
    with as_owner(platform.system) as owner:
        owner.execute(phase, ["Active", None, zone.zone_id])


@case("zone-rows/004", "removeDirectory result")
def test_a_removal_refunds_what_it_removes(platform: Platform, zone: Zone) -> None:
    """A tree that is removed while a file in it grows and another goes refunds what it has become (issue 16: quota)."""
    zone.write("/tree/a", "text")
    zone.write("/tree/b", "text")
    remove = partial(zone.call, "rmdir", path="/tree", recursive=True)
    grown = "update files set size = 9, content = 'much more' where zone_id = %s and path = '/tree/a'"
    with meeting(platform, remove, grown, zone.zone_id) as (other, answers):
        other.execute(b"delete from files where zone_id = %s and path = '/tree/b'", [zone.zone_id])
        other.execute(GROW, [-1, 1, zone.zone_id])
    assert accepted(answers[0])["result"] == {"deleted": True, "files_deleted": 1}
    assert set(zone.usage().values()) == {0}


@case("zone-rows/005", "renamePath exists")
@pytest.mark.parametrize("moved", ["/tree", "/file"])
def test_a_rename_meets_what_has_come_since(moved: str, platform: Platform, zone: Zone) -> None:
    """Nothing is renamed onto a directory that came while the rename waited (platform.md: Rename)."""
    zone.write("/tree/a", "text")
    zone.write("/file", "text")
    rename = partial(zone.call, "rename", old_path=moved, new_path="/new")
    come = """
        insert into files (zone_id, path, kind, size, etag, content)
        select zone_id, '/new/b', kind, size, etag, content from files where zone_id = %s and path = '/file'
    """
    with meeting(platform, rename, GROW, 1, 4, zone.zone_id) as (other, answers):
        other.execute(come, [zone.zone_id])
    assert refusal(answers[0]) == (-32001, "exists")
    assert zone.paths() == ["/file", "/new/b", "/tree/a"]
    platform.adds_up(zone.zone_id)


@case("zone-rows/006", "writeFile quota_exceeded")
def test_what_is_refused_in_the_end_is_let_go(platform: Platform) -> None:
    """A large write that fits when it comes and no more when it is stored leaves nothing that is kept (issue 16)."""
    zone = platform.zone(limits={"max_storage_bytes": 100_000})
    write = partial(zone.call, "write", path="/a", content="x" * 70_000)
    with meeting(platform, write, GROW, 0, 50_000, zone.zone_id) as (_, answers):
        pass
    assert refusal(answers[0]) == (-32010, "quota_exceeded")
    assert zone.paths() == []
    platform.loses_nothing(zone.zone_id)
    platform.write("update zones set used_bytes = 0 where zone_id = %(zone)s", zone=zone.zone_id)


@case("zone-rows/007", "writeFile 503", slow="waits 5 s for its time-out")
def test_a_call_that_waits_too_long_is_a_503(platform: Platform, zone: Zone) -> None:
    """A call that the database does not answer in time is a 503, so that a client repeats it, and is undone (api)."""
    with platform.unchanged(), unfinished(platform.system, GROW, 0, 1, zone.zone_id):
        refused(zone.call("write", path="/a", content="text"), 503, "dependency_unavailable")
    zone.write("/a", "text")
