"""Row-level security: the last net, which holds the service's role to one zone in every table that has zones."""

import psycopg
import pytest

from acceptance.platform.agents import registered
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.roles import as_app, as_owner
from acceptance.system.system import System

REGISTRY = "zones"  # every request reads it
BEHIND = """
    select c.relrowsecurity and exists (select from pg_policy p where p.polrelid = c.oid) from pg_class c
    where c.oid = %s::regclass
"""
OF_ANOTHER = (
    "delete from files where zone_id = %s",
    "update files set size = 0 where zone_id = %s",
    "select from files where zone_id = %s for update",
    "delete from file_parts where zone_id = %s",
    "update objects set pinned_until = now() where zone_id = %s",
    "update agents set name = 'mine' where zone_id = %s",
    "delete from agent_capabilities where zone_id = %s",
)
INSERTED = """
    insert into events (zone_id, sequence_number, type, path, occurred_at) values (%s, 99, 'write', '/a', now())
"""
ROLES = """
    select rolname, rolsuper, rolbypassrls, rolcanlogin, (select count(*) from pg_class where relowner = r.oid)
    from pg_roles r where rolname like %s order by 1
"""


@case("row-security/001")
def test_each_table_with_zones_has_a_policy(system: System, platform: Platform) -> None:
    """Each table with a zone_id but the registry is behind a policy, also one that is added later (platform.md)."""
    tables = platform.tables()
    of_a_zone = {"events", "file_parts", "files", "objects", "uploads", "upload_parts", "tasks", "task_attempts"}
    assert of_a_zone | {"agents", "agent_capabilities"} <= set(tables)
    without = [table for table in tables if system.db.value(BEHIND, table) is not True]
    assert without in ([], [REGISTRY])


@case("row-security/002")
@pytest.mark.usefixtures("app_role")
def test_the_services_role_is_held_to_one_zone(system: System, platform: Platform) -> None:
    """With a zone's setting the role reads and writes rows of that zone alone, without one none (004: isolation)."""
    one, other = platform.zone(), platform.zone()
    for zone in (one, other):
        zone.write("/a", "text")
        zone.write("/b", "x" * 70_000)
        registered(zone, capabilities=["python"])
    tables = [table for table in platform.rows(one.zone_id) if table != REGISTRY]
    assert {"files", "events", "objects", "file_parts", "agents", "agent_capabilities"} <= set(tables)
    with as_app(system) as app, platform.unchanged():
        for setting, sees in (("", []), (other.zone_id, [other.zone_id])):
            with app.transaction(force_rollback=True):
                app.execute("select set_config('nexmdm.zone', %s, true)", [setting])
                for table in tables:
                    found = app.execute(f"select distinct zone_id from {table}".encode()).fetchall()
                    assert [zone_id for (zone_id,) in found] == sees, table
                for statement in (*OF_ANOTHER, "update zones set name = 'mine' where zone_id = %s"):
                    assert app.execute(statement.encode(), [one.zone_id]).rowcount == 0, statement
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                    app.execute(INSERTED.encode(), [one.zone_id])


@case("row-security/003")
def test_the_roles_cannot_leave_it(system: System, app_role: str) -> None:
    """Neither the service's role nor that of its loops owns a table or bypasses the policies (platform.md)."""
    with as_owner(system) as owner:
        roles = owner.execute(ROLES.encode(), [f"{app_role}%"]).fetchall()
    assert roles == [(app_role, False, False, True, 0), (f"{app_role}_background", False, False, False, 0)]
