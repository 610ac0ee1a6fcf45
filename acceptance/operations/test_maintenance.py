"""The command line: migrations, retention, configuration."""

import os
import socket
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from acceptance.fleet.apks import new_package, upload
from acceptance.suite.case import case
from acceptance.system.match import accepted, refused
from acceptance.system.system import FreshBackend, Nexmdm, System
from harness.processes.child import bare_environment, run_to_end, workspace
from harness.settings import backend_command
from harness.waiting import eventually


@case("maintenance/001", slow="migrates down and up")
def test_migrations_go_up_down_and_up(fresh_backend: FreshBackend) -> None:
    """upgrade head, downgrade base, upgrade head again leaves the same schema (000: clean DB; 002: rollback)."""
    system: System = fresh_backend()
    columns = (
        "select table_name, column_name, data_type, is_nullable, column_default from information_schema.columns"
        " where table_schema = 'public' and table_name not like 'device_heartbeats_%%' order by 1, 2"
    )
    constraints = (
        "select conrelid::regclass::text as name, pg_get_constraintdef(oid) as rule from pg_constraint"
        " where connamespace = 'public'::regnamespace and conrelid::regclass::text"
        " not like 'device_heartbeats_%%' order by 1, 2"
    )
    before = [system.db.rows(query.replace("%%", "%")) for query in (columns, constraints)]
    system.running.backend.stop()
    assert system.running.run("migrate", "--to", "base", env=system.running.owner)[0] == 0
    assert set(system.db.tables()) <= {"alembic_version"}, "base leaves nothing"
    assert system.running.run("migrate", env=system.running.owner)[0] == 0
    assert [system.db.rows(query.replace("%%", "%")) for query in (columns, constraints)] == before


@case("maintenance/002", slow="starts a system and commands")
def test_retention_removes_what_is_past_its_days(fresh_backend: FreshBackend) -> None:
    """`nexmdm retention run` removes heartbeats and dispatches after 2 days, downloads after 7 (002)."""
    system: System = fresh_backend()
    devices = [system.device() for _ in range(3)]
    [old, recent, young] = [system.ping(one) for one in devices]
    accepted(devices[0].heartbeat())
    package = new_package()
    accepted(upload(system.api, package_name=package), 201)
    for _ in range(3):
        system.api.admin("GET", "/v1/apk/download-latest", params={"package_name": package})
    eventually(system.settled, within_s=5.0)
    system.running.backend.stop()
    let_days_pass(system, {old: 3, recent: 1}, devices[0].device_id)
    assert system.db.value("select count(*) from device_heartbeats") == 3
    assert system.forgets() == {
        "device_heartbeats": 1,
        "fcm_dispatches": 1,
        "apk_download_events": 1,
        "allocations": 0,
        "events": 0,
        "tasks": 0,
        "sync": 0,
    }
    heartbeats = system.db.rows("select ts > now() - interval '2 days' as kept from device_heartbeats")
    assert [row["kept"] for row in heartbeats] == [True, True]
    for table in ("fcm_dispatches", "commands"):
        kept = {row["request_id"] for row in system.db.rows(f"select request_id from {table}")}
        assert kept == {recent, young}, table
    assert system.db.value("select count(*) from dispatch_transitions where request_id = %s", old) == 0
    assert system.db.value("select count(*) from apk_download_events") == 2
    assert system.db.value("select count(*) from devices") == 3


def let_days_pass(system: System, dispatches: dict[str, int], device_id: str) -> None:
    """Age dispatches by their days and downloads by 8 and 6, and add a heartbeat of 5 days and one of 1 day ago."""
    aged = ", ".join(
        f"{column} = {column} - make_interval(days => %(days)s)"
        for column in ("created_at", "next_attempt_at", "sent_at", "expires_at")
    )
    with psycopg.connect(system.target.database_url or "", autocommit=True) as owner:
        for days in (5, 1):
            day = datetime.now(UTC).date() - timedelta(days=days)
            name, end = f"device_heartbeats_{day:%Y%m%d}", day + timedelta(days=1)
            owner.execute(
                f"create table if not exists {name} partition of device_heartbeats"
                f" for values from ('{day}T00:00:00Z') to ('{end}T00:00:00Z')".encode()
            )
            owner.execute(
                "insert into device_heartbeats (device_id, bucket, ts, status) select %s, date_bin('10 seconds',"
                " at, 'epoch'), at, 'ok' from (select now() - make_interval(days => %s) as at) as moment",
                (device_id, days),
            )
        for request_id, days in dispatches.items():
            values = {"request_id": request_id, "days": days}
            owner.execute(f"update fcm_dispatches set {aged} where request_id = %(request_id)s".encode(), values)
            owner.execute(
                "update commands set created_at = created_at - make_interval(days => %(days)s), expires_at = expires_at"
                " - make_interval(days => %(days)s) where request_id = %(request_id)s",
                values,
            )
        for days, which in ((8, "min"), (6, "max")):
            owner.execute(
                f"update apk_download_events set ts = ts - interval '{days} days'"
                f" where id = (select {which}(id) from apk_download_events)".encode()
            )


GOOD = {
    "NEXMDM_DATABASE_URL": "postgresql://nexmdm@127.0.0.1:1/nexmdm",
    "NEXMDM_ADMIN_KEY": "an-admin-key-of-some-length",
    "NEXMDM_HMAC_SECRET": "a-signing-secret-of-some-length",
}
ON_S3 = {"NEXMDM_PLATFORM_STORAGE_URL": "s3://bucket/prefix"}


@case("maintenance/003", slow="starts 34 commands")
@pytest.mark.parametrize(
    "env,named",
    [
        ({"NEXMDM_ADMIN_KEY": "short!"}, ["NEXMDM_ADMIN_KEY"]),
        ({"NEXMDM_DATABASE_URL": ""}, ["NEXMDM_DATABASE_URL"]),
        ({"NEXMDM_DATABASE_URL": "mysql://u:hunter2@x/y"}, ["NEXMDM_DATABASE_URL"]),
        ({"NEXMDM_FIREBASE_SERVICE_ACCOUNT_JSON": "{hunter2"}, ["NEXMDM_FIREBASE_SERVICE_ACCOUNT_JSON"]),
        ({"NEXMDM_HMAC_SECRET": "short!", "NEXMDM_PORT": "99999"}, ["NEXMDM_HMAC_SECRET", "NEXMDM_PORT"]),
        ({"NEXMDM_SERVICES": "fleet,hunter2"}, ["NEXMDM_SERVICES"]),
        ({"NEXMDM_LIMIT_ADMIN": "lots", "NEXMDM_WORKERS": "many"}, ["NEXMDM_LIMIT_ADMIN", "NEXMDM_WORKERS"]),
        ({"NEXMDM_ADMIN_KEY": "clef-d-été-de-quelque-longueur"}, ["NEXMDM_ADMIN_KEY"]),
        ({"NEXMDM_HMAC_SECRET": " \n" * 16}, ["NEXMDM_HMAC_SECRET"]),
        ({"NEXMDM_DATABASE_URL": "postgresql://u:hunter2é@x/y"}, ["NEXMDM_DATABASE_URL"]),
        ({"NEXMDM_DATABASE_URL": "postgresql://u:1/hunter2@x/y"}, ["NEXMDM_DATABASE_URL"]),
        ({"NEXMDM_DATABASE_URL": "postgresql://u:hunter2@x/y?sslmode=on"}, ["NEXMDM_DATABASE_URL", "sslmode"]),
        (
            {"NEXMDM_DATABASE_URL": "postgresql://u:hunter2@x/y?sslmode=verify-full&sslrootcert=/nowhere/ca.pem"},
            ["NEXMDM_DATABASE_URL", "/nowhere/ca.pem", "PGSSLROOTCERT"],
        ),
        (
            {"NEXMDM_PLATFORM_STORAGE_URL": "s3://u:hunter2@bucket"},
            ["NEXMDM_PLATFORM_STORAGE_URL", "s3://bucket/prefix"],
        ),
        (ON_S3 | {"AWS_ENDPOINT_URL": "hunter2"}, ["NEXMDM_PLATFORM_STORAGE_URL", "AWS_ENDPOINT_URL"]),
        ({"NEXMDM_PLATFORM_SECRETS_KEY": "hunter2"}, ["NEXMDM_PLATFORM_SECRETS_KEY"]),
        (ON_S3 | {"AWS_CHECKSUM_ALGORITHM": "hunter2"}, ["NEXMDM_PLATFORM_STORAGE_URL", "AWS_"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_configuration_is_one_line(env: dict[str, str], named: list[str], nexmdm: Nexmdm) -> None:
    """A bad setting ends `nexmdm` with exit code 2 and one line that names the variable and never its value."""
    code, said = nexmdm(["check-config"], {**GOOD, **env})
    assert code == 2, said
    assert nexmdm(["serve"], {**GOOD, **env}) == (code, said)
    assert len(said.splitlines()) == 1, said
    line = said.strip()
    assert line.startswith("nexmdm: configuration error: ")
    assert all(name in line for name in named), line
    assert not any(value in line for value in ("short!", "hunter2", "lots", "many", "été")), line


@case("maintenance/004")
def test_a_good_configuration_is_shown_without_secrets(nexmdm: Nexmdm) -> None:
    """`nexmdm check-config` exits with 0 and shows the settings in force, never a secret (api.md: no secret ever)."""
    code, said = nexmdm(["check-config"], {**GOOD, "NEXMDM_WORKERS": "3"})
    assert code == 0, said
    assert "NEXMDM_WORKERS" in said
    assert not any(GOOD[name] in said for name in ("NEXMDM_ADMIN_KEY", "NEXMDM_HMAC_SECRET"))


@case("maintenance/005", "getReadiness 200", "getReadiness 503")
def test_old_instances_serve_on_when_a_later_version_has_migrated(fresh_backend: FreshBackend) -> None:
    """At a revision after its own an instance says `ahead` and serves; before it, no (operations.md)."""
    system: System = fresh_backend()
    device = system.device()
    with psycopg.connect(system.running.owner["NEXMDM_DATABASE_URL"], autocommit=True) as owner:
        owner.execute("update alembic_version set version_num = 'ffffffffffff'")
        ready = system.api.request("GET", "/readyz")
        assert accepted(ready)["migrations"] == "ahead"
        system.logs.expect(ready, "http.request", status=200)
        accepted(device.heartbeat())
        owner.execute("update alembic_version set version_num = 'e90b5d3c1f48'")
        refused(system.api.request("GET", "/readyz"), 503, "migrations_pending")


@case("maintenance/006", slow="starts four commands")
def test_what_refuses_is_named(nexmdm: Nexmdm) -> None:
    """A taken port or a database that is not there is one line that names it, never the password (issue 11)."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = nexmdm(["serve"], {**GOOD, "NEXMDM_PORT": port})
    assert code == 1
    [line] = said.splitlines()
    assert line.startswith(f"nexmdm: cannot listen on 127.0.0.1 port {port}: Address already in use"), line
    url = {**GOOD, "NEXMDM_DATABASE_URL": f"postgresql://nexmdm:hunter2@127.0.0.1:{port}/nexmdm"}
    for command in (["migrate"], ["grant", "nexmdm_app"], ["retention", "run"]):
        code, said = nexmdm(command, url)
        assert code == 1
        [line] = said.splitlines()
        assert line.startswith(f"nexmdm: PostgreSQL at 127.0.0.1:{port}: "), line
        assert "refused" in line or "Connect call failed" in line, line
        assert "hunter2" not in line


@case("maintenance/007")
def test_a_home_that_may_not_be_entered_keeps_nobody_from_the_database() -> None:
    """As a user whose HOME is another's, TCP connections to PostgreSQL are tried, without certificates (issue 11)."""
    home = workspace("home")
    env = bare_environment({**GOOD, "HOME": str(home)})
    # Root may read everything, unless it goes without the capabilities that say so.
    prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []

    def run(command: str) -> tuple[int, str]:
        return run_to_end([*prefix, backend_command(), command], env=env, within_s=60.0)

    home.chmod(0o000)
    code, said = run("migrate")
    assert code == 1
    assert said.startswith("nexmdm: PostgreSQL at 127.0.0.1:1: "), said
    home.chmod(0o700)
    (home / ".postgresql").mkdir()
    (home / ".postgresql" / "root.crl").touch(0o000)
    code, said = run("serve")
    assert code == 2
    [line] = said.splitlines()
    assert line.startswith("nexmdm: configuration error: NEXMDM_DATABASE_URL: cannot read ~/.postgresql/root.crl ")


@case("maintenance/008", "sendCommand 200", "listDevices 200", slow="starts the service twice and five commands")
def test_what_stands_around_a_secret_is_no_part_of_it(fresh_backend: FreshBackend) -> None:
    """Secrets with a newline at the end, as files and secret stores give them, are the same secrets (issue 11)."""
    system: System = fresh_backend()
    device = system.device()
    given = system.running.env
    secrets = ("ADMIN_KEY", "HMAC_SECRET", "DATABASE_URL", "FIREBASE_SERVICE_ACCOUNT_JSON")
    padded = {f"NEXMDM_{name}": given[f"NEXMDM_{name}"] + "\r\n" for name in secrets}
    assert system.running.run("check-config", env=padded)[0] == 0
    system.running.backend.restart(env=padded)
    accepted(system.api.admin("GET", "/v1/devices"))
    request_id = accepted(system.api.command({"device_id": device.device_id, "action": "ping"}))["request_id"]
    system.logs.wait("dispatch.sent", dispatch_request_id=request_id)
    code, said = system.running.run(
        "migrate", env={"NEXMDM_DATABASE_URL": system.running.owner["NEXMDM_DATABASE_URL"] + "\n"}
    )
    assert code == 0, said
