"""The rows of mounts and of what is brought to their backends: what the database itself refuses to every role."""

from acceptance.platform.test_zone_rows import NAMES, refused_by
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.roles import as_owner
from acceptance.system.system import System
from harness.platform.zone import Zone

TABLES = ["mounts", "mount_changes", "mount_bases", "mount_conflicts", "mount_runs"]
OF = "where zone_id = %(zone)s"
# Two mounts; the one at /a has one row in each of the other tables.
MADE = (
    (
        "insert into mounts (zone_id, mount_point, owner, backend_type, config)"
        " select %(zone)s, point, 'me', 'local', '{}' from unnest('{/a,/b}'::text[]) as point"
    ),
    (
        "insert into mount_changes (zone_id, mount_id, path, kind)"
        f" select zone_id, mount_id, 'c', 'write' from mounts {OF} and mount_point = '/a'"
    ),
    (
        "insert into mount_bases (zone_id, mount_id, path, remote_etag, size, mtime)"
        f" select zone_id, mount_id, 'c', 'e', 1, now() from mounts {OF} and mount_point = '/a'"
    ),
    (
        "insert into mount_conflicts (zone_id, mount_id, mount_point, path)"
        f" select zone_id, mount_id, mount_point, 'c' from mounts {OF} and mount_point = '/a'"
    ),
    (
        "insert into mount_runs (zone_id, mount_id, mount_point, trigger, lease_until)"
        f" select zone_id, mount_id, mount_point, 'loop', now() from mounts {OF} and mount_point = '/a'"
    ),
)
REFUSED = {
    "pk_mounts": f"update mounts set mount_id = (select mount_id from mounts {OF} and mount_point = '/b')"
    f" {OF} and mount_point = '/a'",
    "uq_mounts_mount_point": f"update mounts set mount_point = '/b' {OF} and mount_point = '/a'",
    "fk_mounts_zone_id": f"delete from mount_changes {OF}; delete from mount_conflicts {OF};"
    f" delete from mount_runs {OF}; delete from events {OF}; delete from zones {OF}",
    "ck_mounts_mount_point": f"update mounts set mount_point = '/' {OF} and mount_point = '/a'",
    "ck_mounts_backend_type": f"update mounts set backend_type = 'native' {OF}",
    "ck_mounts_is_something": f"update mounts set active = false {OF}",
    "pk_mount_changes": f"insert into mount_changes select * from mount_changes {OF}",
    "fk_mount_changes_mount_id": f"delete from mount_conflicts {OF}; delete from mounts {OF}",
    "ck_mount_changes_path": f"update mount_changes set path = '' {OF}",
    "ck_mount_changes_kind": f"update mount_changes set kind = 'rename' {OF}",
    "ck_mount_changes_attempts": f"update mount_changes set attempts = -1 {OF}",
    "ck_mount_changes_sent": f"update mount_changes set sent = 'a' {OF}",
    "pk_mount_bases": f"insert into mount_bases select * from mount_bases {OF}",
    "fk_mount_bases_mount_id": f"update mount_bases set mount_id = gen_random_uuid() {OF}",
    "ck_mount_bases_path": f"update mount_bases set path = '' {OF}",
    "ck_mount_bases_size": f"update mount_bases set size = -1 {OF}",
    "ck_mount_bases_sha256": f"update mount_bases set sha256 = 'a' {OF}",
    "pk_mount_conflicts": f"update mount_conflicts set status = 'resolved', resolved_at = now(),"
    f" resolution = 'abort' {OF};"
    " insert into mount_conflicts (zone_id, conflict_id, mount_id, mount_point, path)"
    f" select zone_id, conflict_id, mount_id, mount_point, path from mount_conflicts {OF}",
    "fk_mount_conflicts_zone_id": f"update mount_conflicts set status = 'resolved', resolved_at = now(),"
    f" resolution = 'abort' {OF}; delete from mount_changes {OF}; delete from mount_runs {OF};"
    f" delete from mounts {OF}; delete from events {OF}; delete from zones {OF}",
    "fk_mount_conflicts_open_mount_id": f"delete from mount_changes {OF}; delete from mounts {OF}",
    "ck_mount_conflicts_path": f"update mount_conflicts set path = '' {OF}",
    "ck_mount_conflicts_strategy": f"update mount_conflicts set strategy = 'guess' {OF}",
    "ck_mount_conflicts_status": f"update mount_conflicts set status = 'gone' {OF}",
    "ck_mount_conflicts_resolved_has_time": f"update mount_conflicts set status = 'resolved' {OF}",
    "uq_mount_conflicts_open": "insert into mount_conflicts (zone_id, mount_id, mount_point, path)"
    f" select zone_id, mount_id, mount_point, path from mount_conflicts {OF}",
    "pk_mount_runs": f"update mount_runs set finished_at = now(), lease_until = null {OF};"
    " insert into mount_runs (zone_id, run_id, mount_id, mount_point, trigger, lease_until)"
    f" select zone_id, run_id, mount_id, mount_point, trigger, now() from mount_runs {OF}",
    "fk_mount_runs_zone_id": f"delete from mount_changes {OF}; delete from mount_conflicts {OF};"
    f" delete from mounts {OF}; delete from events {OF}; delete from zones {OF}",
    "ck_mount_runs_trigger": f"update mount_runs set trigger = 'chance' {OF}",
    "ck_mount_runs_running_has_lease": f"update mount_runs set lease_until = null {OF}",
    "ck_mount_runs_counts": f"update mount_runs set pushed = -1 {OF}",
    "uq_mount_runs_open": "insert into mount_runs (zone_id, mount_id, mount_point, trigger, lease_until)"
    f" select zone_id, mount_id, mount_point, trigger, now() from mount_runs {OF}",
}
INDEXES = {"uq_mount_conflicts_open", "uq_mount_runs_open"}  # of some rows, and so no constraints


@case("mount-rows/001", "deleteZone 202")
def test_the_database_refuses_what_no_mount_is(system: System, platform: Platform, zone: Zone) -> None:
    """Each constraint of the tables of mounts refuses a change that breaks it; a zone goes with them (platform.md)."""
    for statement in MADE:
        platform.write(statement, zone=zone.zone_id)
    with as_owner(system) as owner, platform.unchanged():
        for name, statements in REFUSED.items():
            assert refused_by(owner, statements.split(";"), zone.zone_id) == name
        there = owner.execute(NAMES, [TABLES]).fetchall()
    assert {name for (name,) in there} | INDEXES == REFUSED.keys()
    platform.remove(zone.zone_id)
    assert platform.rows(zone.zone_id) == {}
