"""Dependencies that are away: 503 with Retry-After, an ERROR line, and recovery without a restart."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest
from psycopg import sql

from acceptance.access.requests import CALLS, WITHOUT_DATABASE, Keys, is_refused, own, send
from acceptance.fleet.dispatches import ended
from acceptance.sandboxes.pool import Pool
from acceptance.suite.case import case
from acceptance.system.concurrency import at_once
from acceptance.system.match import accepted, refused
from acceptance.system.roles import as_owner
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import race
from harness.http.client import Answer
from harness.postgres.server import Postgres
from harness.waiting import eventually


@contextmanager
def stopped(postgres: Postgres) -> Iterator[None]:
    postgres.halt()
    try:
        yield
    finally:
        postgres.restart()


@case("outages/001", "* 503")
def test_every_operation_says_503_while_the_database_is_down_and_recovers(fresh_backend: FreshBackend) -> None:
    """With PostgreSQL stopped every operation is a 503 with Retry-After and an ERROR line; it recovers (000 A: 5xx)."""
    system: System = fresh_backend(own_postgres=True)
    device, token = system.device(), system.token()["token"]
    pool = Pool(system)
    keys = Keys(pool.track_key, pool.admin_key)
    accepted(device.heartbeat())
    before = system.db.digest()
    system.db.close()
    with stopped(system.running.postgres):
        for operation in sorted(CALLS.keys() - WITHOUT_DATABASE):
            proof = own(system, operation, device=device.token, enrolment=token, keys=keys)
            answer = send(system.api, operation, proof)
            assert answer.status == 503, f"{operation}: {answer.status}"
            assert int(answer.headers["retry-after"]) >= 1, operation
            is_refused(operation, answer, 503, "dependency_unavailable")
            system.logs.expect(answer, "dependency.unavailable", dependency="database", level="ERROR")
            system.logs.expect(answer, "http.request", status=503, level="ERROR")
        assert system.api.request("GET", "/openapi.yaml").status == 200, "needs no database"
    eventually(lambda: system.api.request("GET", "/readyz").status == 200, within_s=10.0)
    assert system.db.digest() == before, "what was refused during the outage has changed nothing"
    accepted(device.heartbeat())
    accepted(system.api.bearer(token, "POST", "/v1/register", json={"agent_version": "1.4.2"}))
    eventually(lambda: system.metrics.total("nexmdm_db_pool_in_use") == 0, within_s=3.0)


@case("outages/002", "recordHeartbeat 503", slow="waits 5 s")
def test_a_refusal_needs_no_database(fresh_backend: FreshBackend) -> None:
    """Wrong credentials stay 401 and 403 while this database refuses connections; commands survive it (api.md)."""
    system: System = fresh_backend()
    device = system.device()
    stack = system.running
    accepted(device.heartbeat())
    system.db.close()
    stack.postgres.refuse(stack.database)
    refused(system.api.request("GET", "/v1/devices"), 403, "admin_required")
    refused(system.api.request("POST", "/v1/heartbeat", json={"status": "ok"}), 401, "token_missing")
    answer = device.heartbeat()
    refused(answer, 503, "dependency_unavailable")
    system.logs.expect(answer, "dependency.unavailable", dependency="database", level="ERROR")
    system.logs.wait("dependency.unavailable", dependency="database", route="server")  # the dispatcher has met it too
    stack.postgres.accept(stack.database)
    eventually(lambda: device.heartbeat().status == 200, within_s=10.0)
    request_id = accepted(system.api.command({"device_id": device.device_id, "action": "ping"}))["request_id"]
    system.logs.wait("dispatch.sent", dispatch_request_id=request_id)


@case("outages/003", "sendCommand 503")
def test_commands_need_an_fcm_configuration(fresh_backend: FreshBackend) -> None:
    """Without a service account a command is a 503 and nothing is stored; everything else works (api.md: 503)."""
    system: System = fresh_backend(env={"NEXMDM_FIREBASE_SERVICE_ACCOUNT_JSON": ""})
    device = system.device()
    with system.unchanged():
        answer = system.api.command({"device_id": device.device_id, "action": "ping"})
    refused(answer, 503, "dependency_unavailable")
    system.logs.expect(answer, "dependency.unavailable", dependency="fcm", level="ERROR")
    accepted(device.heartbeat())


@case("outages/004", "getReadiness 503")
def test_pending_migrations_show_in_readiness(two_workers: System) -> None:
    """A database that is not at the newest migration is a 503 migrations_pending on /readyz, until it is (api.md)."""
    system = two_workers
    head = system.db.value("select version_num from alembic_version")
    with psycopg.connect(system.target.database_url or "", autocommit=True) as owner:
        owner.execute("delete from alembic_version")
        answer = system.api.request("GET", "/readyz")
        refused(answer, 503, "migrations_pending")
        system.logs.expect(answer, "http.request", status=503)
        owner.execute("insert into alembic_version values (%s)", (head,))
    accepted(system.api.request("GET", "/readyz"))


@case("outages/005", "* 503", slow="freezes the database for 10 s")
def test_a_frozen_database_is_a_503_and_no_hanging_request(fresh_backend: FreshBackend) -> None:
    """With a PostgreSQL that hangs requests end as a 503 in bounded time, and work again afterwards (api.md)."""
    system: System = fresh_backend(own_postgres=True)
    device = system.device()
    accepted(device.heartbeat())
    postgres = system.running.postgres
    calls: list[Callable[[], Answer]] = [device.heartbeat, lambda: system.api.admin("GET", "/v1/devices")]
    postgres.pause()
    try:
        answers = at_once(calls)
    finally:
        postgres.resume()
    for answer in answers:
        refused(answer, 503, "dependency_unavailable")
        assert answer.elapsed_ms < 12_000, "connecting and a statement have limits of their own"
        system.logs.expect(answer, "dependency.unavailable", dependency="database", level="ERROR")
    eventually(lambda: device.heartbeat().status == 200, within_s=10.0)


# Defaults of a database that somebody had a reason for, each of which changes what a statement means or how it ends.
DEFAULTS = {
    "default_transaction_isolation": "serializable",
    "synchronous_commit": "off",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "200ms",
    "search_path": "pg_catalog",
    "timezone": "Pacific/Kiritimati",
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "jit_above_cost": "0",
}


def end_sessions(system: System) -> None:
    """As a restart of the server does: all sessions of the database are over."""
    with psycopg.connect(system.running.postgres.admin_url, autocommit=True) as admin:
        admin.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", [system.running.database]
        )


@contextmanager
def defaults_of_the_database(system: System, settings: dict[str, str]) -> Iterator[None]:
    """Other defaults for new sessions; those that are open are cut."""
    name = sql.Identifier(system.running.database)

    def each(statement: str) -> None:
        with psycopg.connect(system.running.postgres.admin_url, autocommit=True) as admin:
            for setting, value in settings.items():
                admin.execute(sql.SQL(statement).format(name, sql.Identifier(setting), sql.Literal(value)))
        end_sessions(system)

    each("alter database {} set {} = {}")
    try:
        yield
    finally:
        each("alter database {0} reset {1}")


@case(
    "outages/006",
    "registerDevice 200",
    "recordHeartbeat 200",
    "sendCommand 200",
    "getReadiness 200",
    slow="starts the service twice under load",
)
def test_defaults_of_the_database_change_nothing(fresh_backend: FreshBackend) -> None:
    """Whatever ALTER DATABASE .. SET says, concurrent requests of two workers succeed, durably (issue 11)."""
    system: System = fresh_backend(workers=2)
    token = system.token(uses_allowed=50)["token"]
    devices = [system.device() for _ in range(4)]
    with as_owner(system) as owner:
        owner.execute(
            "create function durable() returns trigger language plpgsql as $$ begin"
            " assert current_setting('synchronous_commit') <> 'off'; return new; end $$"
        )
        for table in ("device_heartbeats", "devices", "commands"):
            owner.execute(f"create trigger d before insert on {table} for each row execute function durable()".encode())
    with defaults_of_the_database(system, DEFAULTS):
        eventually(lambda: system.api.request("GET", "/readyz").status == 200, within_s=10.0)
        register = {"agent_version": "1.4.2"}
        calls: list[Callable[[], Answer]] = [
            *[lambda: system.api.bearer(token, "POST", "/v1/register", json=register)] * 6,
            *[one.heartbeat for one in devices] * 3,
            *[lambda: system.api.command({"device_id": devices[0].device_id, "action": "ping"})] * 4,
            *[lambda: system.api.admin("GET", "/v1/devices")] * 4,
        ]
        for _ in range(3):
            assert [answer.status for answer in race(system, calls)] == [200] * len(calls)
        assert system.running.backend.stop() == 0
        role = str(system.running.postgres.app_role)
        for command in ("retention run", "migrate --to -1", "migrate", f"grant {role}"):
            env = {} if command == "retention run" else system.running.owner
            code, said = system.running.run(*command.split(), env=env)
            assert code == 0, f"{command}: {said}"


@case("outages/007", "recordHeartbeat 200", "registerDevice 503", slow="starts its backend twice")
def test_a_transaction_that_is_undone_for_another_is_tried_again(fresh_backend: FreshBackend) -> None:
    """A deadlock (40P01, 40001) costs a heartbeat nothing, and other writes a 503 with Retry-After (issue 11)."""
    system: System = fresh_backend()
    device, token = system.device(), system.token()
    register = {"agent_version": "1.4.2"}
    with as_owner(system) as owner:
        owner.execute("create sequence tries")
        owner.execute("grant usage on sequence tries to public")
        owner.execute(
            "create function undo() returns trigger language plpgsql as $$ begin"
            " if nextval('tries') % 2 = 1 then raise exception using errcode = tg_argv[0]; end if; return new; end $$"
        )
        for table, code in (("device_heartbeats", "40P01"), ("devices", "40001")):
            owner.execute(
                f"create trigger undo before insert on {table} for each row execute function undo('{code}')".encode()
            )
        system.running.backend.restart()  # it knows no token: the heartbeat has no second chance behind the fast lane
        accepted(device.heartbeat())
        answer = system.api.bearer(token["token"], "POST", "/v1/register", json=register)
        refused(answer, 503, "dependency_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        system.logs.expect(answer, "dependency.unavailable", dependency="database", level="ERROR")
        accepted(system.api.bearer(token["token"], "POST", "/v1/register", json=register))
    used = "select uses_consumed from enrollment_tokens where token_id = %s"
    assert system.db.value(used, token["token_id"]) == 1


@case("outages/008", slow="waits for retries of 1 and 2 s")
def test_a_failing_dispatcher_stops_nothing_else(fresh_backend: FreshBackend) -> None:
    """While the dispatcher fails for a reason of its own, retention runs on in the same process; then it recovers."""
    system: System = fresh_backend(env={"NEXMDM_RETENTION_EVERY_S": "1"})
    device = system.device()
    with psycopg.connect(system.running.owner["NEXMDM_DATABASE_URL"], autocommit=True) as owner:
        owner.execute("alter table dispatch_transitions rename to away")
        try:
            for pause_s in (1, 2):
                system.logs.wait("job.fail", job="dispatcher", level="ERROR", retry_in_s=pause_s)
            system.logs.tap.wait_for("retention.cleanup", since=system.logs.tap.mark(), entity="fcm_dispatches")
        finally:
            owner.execute("alter table away rename to dispatch_transitions")
    eventually(ended(system.api, system.ping(device), "sent"), within_s=20.0)
    assert system.metrics.total('nexmdm_job_failures_total{job="dispatcher"}') >= 2
    started = [line for line in system.logs.tap.since(0) if line["event"] == "service.start"]
    assert [line["role"] for line in started].count("background") == 1


@case("outages/009", "listDevices 200", slow="waits until connections have idled")
@pytest.mark.parametrize("idle_s", [0.0, 1.5])
def test_sessions_that_the_server_ended_cost_no_caller_an_error(idle_s: float, fresh_backend: FreshBackend) -> None:
    """When the server has ended all sessions of a pool, just used or not, the next requests are answered (001)."""
    system: System = fresh_backend()
    system.db.close()
    crowd = [partial(system.api.admin, "GET", "/v1/devices")] * 8
    for answer in race(system, crowd):
        accepted(answer)
    threading.Event().wait(idle_s)
    end_sessions(system)
    for answer in race(system, crowd):
        accepted(answer)
