"""The database roles: the service can do what it needs and nothing else, the reader can read, the owner migrates."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from acceptance.suite.case import case
from acceptance.system.match import accepted, refused
from acceptance.system.roles import FUNCTIONS, OF_THE_LOOPS, RIGHTS, as_app, as_owner, held, refusal
from acceptance.system.system import FreshBackend, System
from harness.waiting import eventually

DENIED = "42501"
BEYOND_BOUNDS = "22023"
TODAY = datetime.now(UTC).date()


def of_every_table(statement: str) -> list[str]:
    return [statement.format(table) for table in RIGHTS]


@case("roles/001")
@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(of_every_table("drop table {} cascade"), id="drop"),
        pytest.param(of_every_table("alter table {} add column mine text"), id="alter"),
        pytest.param(of_every_table("truncate {} cascade"), id="truncate"),
        pytest.param(of_every_table("create rule mine as on insert to {} do instead nothing"), id="rule"),
        pytest.param(of_every_table("create index mine on {} ((1))"), id="index"),
        pytest.param(["create table mine ()", "create view mine as select 1", "create schema mine"], id="create"),
        pytest.param(
            [
                "create function public.mine() returns int language sql as 'select 1'",
                "do $$ begin perform pg_ls_dir('/'); end $$",
            ],
            id="create code",
        ),
        pytest.param(
            [
                "update alembic_version set version_num = 'mine'",
                "delete from alembic_version",
                "insert into alembic_version values ('mine')",
            ],
            id="edit the migration state",
        ),
        pytest.param(
            ["delete from device_heartbeats", "update device_heartbeats set status = 'ok'", "delete from devices"],
            id="rewrite history",
        ),
        pytest.param(
            [
                f"insert into device_heartbeats_{TODAY:%Y%m%d} default values",
                f"select * from device_heartbeats_{TODAY:%Y%m%d}",
                f"drop table device_heartbeats_{TODAY:%Y%m%d}",
            ],
            id="go past the parent of a day",
        ),
        pytest.param(
            [
                "select nexmdm_drop_heartbeat_partitions_unbounded('2100-01-01')",
                "select nexmdm_ensure_heartbeat_partitions_unbounded('2100-01-01', '2100-01-01')",
            ],
            id="go past the bounds",
        ),
        pytest.param(
            [
                "create role mine",
                "create database mine",
                "set role postgres",
                "copy devices to program 'true'",
                "select pg_read_file('postgresql.conf')",
                "select pg_reload_conf()",
            ],
            id="reach the server",
        ),
    ],
)
def test_the_services_role_cannot_change_the_schema(statements: list[str], app_role: str, two_workers: System) -> None:
    """The service cannot create, alter, drop, truncate or touch the migration state: SQLSTATE 42501 (operations.md)."""
    with as_app(two_workers) as app, two_workers.unchanged():
        assert app.execute("select current_user").fetchone() == (app_role,)
        done = {statement: refusal(app, statement) for statement in statements}
    assert done == dict.fromkeys(statements, DENIED)


@case("roles/002", slow="starts a system and two commands")
def test_the_services_role_has_exactly_the_rights_that_are_written_down(
    fresh_backend: FreshBackend, app_role: str
) -> None:
    """`nexmdm grant` gives just the listed rights, takes away all others, and may be run again (operations.md)."""
    system: System = fresh_backend()
    with as_owner(system) as owner:
        owner.execute(f"grant all on all tables in schema public to {app_role}".encode())
        owner.execute(f"grant create on schema public to {app_role}".encode())
        owner.execute(f"revoke select on devices from {app_role}".encode())
        for _ in range(2):
            code, said = system.running.run("grant", app_role, env=system.running.owner)
            assert (code, said) == (0, "")
            assert held(owner, app_role) == RIGHTS | FUNCTIONS
            assert held(owner, f"{app_role}_background") == OF_THE_LOOPS


@case("roles/003")
def test_days_are_made_and_dropped_within_bounds_only(fresh_backend: FreshBackend, app_role: str) -> None:
    """The service makes days up to a week from today and drops days that are over, never today's (operations.md)."""
    system: System = fresh_backend()
    device = system.device()
    accepted(device.heartbeat())
    days = "select count(*) from pg_inherits where inhparent = 'device_heartbeats'::regclass"
    before = system.db.value(days)
    ensure = "select nexmdm_ensure_heartbeat_partitions('{}', '{}')"
    drop = "select nexmdm_drop_heartbeat_partitions('{}')"
    week, day = timedelta(days=7), timedelta(days=1)
    with as_app(system) as app:
        assert app.execute("select current_user").fetchone() == (app_role,)
        assert refusal(app, ensure.format(TODAY, TODAY + week + 2 * day)) == BEYOND_BOUNDS
        assert refusal(app, ensure.format(TODAY - week - 2 * day, TODAY)) == BEYOND_BOUNDS
        assert refusal(app, drop.format(TODAY + 2 * day)) == BEYOND_BOUNDS
        assert system.db.value(days) == before
        assert refusal(app, ensure.format(TODAY - week + day, TODAY + week - day)) == "00000"
        assert system.db.value(days) == 13
        app.execute("create temporary table device_heartbeats (bucket timestamptz)")
        assert refusal(app, drop.format(TODAY - day)) == "00000"
    assert system.db.value(days) == 8, "yesterday, today and what is to come"
    assert system.db.value("select count(*) from device_heartbeats") == 1


@case("roles/004")
def test_the_reader_cannot_write(reader_role: str, two_workers: System) -> None:
    """The reader's role reads every table and writes none, even in a session that says it may (operations.md)."""
    statements = [
        *of_every_table("insert into {} default values"),
        *of_every_table("delete from {}"),
        *of_every_table("truncate {} cascade"),
        *of_every_table("drop table {} cascade"),
        "create table mine ()",
        f"select nexmdm_drop_heartbeat_partitions('{TODAY}')",
    ]
    with psycopg.connect(two_workers.db.url, autocommit=True) as reader, two_workers.unchanged():
        assert reader.execute("select current_user").fetchone() == (reader_role,)
        reader.execute("set default_transaction_read_only = off")
        done = {statement: refusal(reader, statement) for statement in statements}
        for table in RIGHTS:
            reader.execute(f"select * from {table} limit 1".encode())
    assert done == dict.fromkeys(statements, DENIED)
    assert set(two_workers.db.tables()) == set(RIGHTS)


@case("roles/005", "getReadiness 503", "* 503", slow="waits 5 s")
def test_a_right_that_is_missing_shows_in_readiness_and_is_an_outage_meanwhile(
    fresh_backend: FreshBackend, app_role: str
) -> None:
    """Without a right /readyz is 503, the log says which, what needs it is 503, the rest works (operations.md)."""
    system: System = fresh_backend()
    device, token = system.device(), system.token()["token"]
    accepted(system.api.request("GET", "/readyz"))
    with as_owner(system) as owner:
        owner.execute(f"revoke insert on devices, device_heartbeats from {app_role}".encode())
    with system.unchanged():
        ready = system.api.request("GET", "/readyz")
        beat = device.heartbeat()
        register = system.api.bearer(token, "POST", "/v1/register", json={"agent_version": "1.4.2"})
    lacking = "no right to INSERT on device_heartbeats, INSERT on devices"
    for answer, error in ((ready, lacking), (beat, "InsufficientPrivilegeError"), (register, "ProgrammingError")):
        refused(answer, 503, "dependency_unavailable")
        system.logs.expect(answer, "dependency.unavailable", dependency="database", error=error, level="ERROR")
    accepted(system.api.request("GET", "/healthz"))
    accepted(system.api.admin("GET", f"/v1/devices/{device.device_id}"))
    assert system.running.run("grant", app_role, env=system.running.owner) == (0, "")
    accepted(system.api.request("GET", "/readyz"))
    eventually(lambda: device.heartbeat().status == 200, within_s=5.0)
    accepted(system.api.bearer(token, "POST", "/v1/register", json={"agent_version": "1.4.2"}))


@case("roles/006", slow="starts three commands")
def test_a_role_that_cannot_be_held_to_its_rights_is_refused(fresh_backend: FreshBackend, app_role: str) -> None:
    """`nexmdm grant` of an unknown role, of a superuser, or by a stranger is one line, exit code 1 (operations.md)."""
    system: System = fresh_backend()
    stack = system.running
    with as_owner(system) as owner:
        before = held(owner, app_role)
        [(user,)] = owner.execute("select current_user").fetchall()
        for role, env, reason in (
            ("nobody_knows", stack.owner, "there is no role nobody_knows; make it first"),
            (user, stack.owner, "is a superuser, or has the rights of the owner"),
            (app_role, {}, "the database refused: permission denied"),
        ):
            code, said = stack.run("grant", role, env=env)
            assert (code, len(said.splitlines())) == (1, 1), said
            assert said.startswith("nexmdm: "), said
            assert reason in said
        assert held(owner, app_role) == before
