"""A backup that is taken while the service works, and the service on what was restored from it."""

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg

from acceptance.fleet.apks import new_package, upload
from acceptance.platform.zones import MIB, Platform
from acceptance.suite.case import case
from acceptance.system.match import accepted, refused
from acceptance.system.roles import FUNCTIONS, RIGHTS, as_owner, held
from acceptance.system.system import Enrolled, FreshBackend, System
from harness.platform.uploads import Upload, begin
from harness.platform.zone import Zone
from harness.postgres.backup import dump, restore
from harness.stack.backend import Backend
from harness.waiting import eventually

SENDERS = 3
# By table, what tells two rows of it apart.
KEYS = {
    "devices": "device_id::text",
    "device_heartbeats": "device_id::text || bucket::text",
    "commands": "request_id",
    "dispatch_transitions": "request_id || status",
    "enrollment_tokens": "token_id::text",
    "apk_versions": "sha256",
    "apk_download_events": "id::text",
}


@contextmanager
def enrolling(system: System) -> Iterator[list[tuple[float, Enrolled]]]:
    """While the block runs, devices enrol and send a heartbeat; gives each, and when both were acknowledged."""
    acknowledged: list[tuple[float, Enrolled]] = []
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            device = system.device()
            accepted(device.heartbeat())
            acknowledged.append((time.monotonic(), device))

    with ThreadPoolExecutor(SENDERS) as pool:
        senders = [pool.submit(send) for _ in range(SENDERS)]
        try:
            eventually(lambda: len(acknowledged) >= 2 * SENDERS, within_s=20.0)
            yield acknowledged
        finally:
            over.set()
        for sender in senders:
            sender.result()


@contextmanager
def under_way(system: System, file: Path) -> Iterator[None]:
    """For the length of the block pg_dump has begun and cannot end: a table that nothing else needs is locked."""
    busy = "select count(*) = 1 from pg_locks where not granted and relation = 'apk_download_events'::regclass"
    with ThreadPoolExecutor(1) as pool, as_owner(system) as owner, owner.transaction():
        owner.execute("lock table apk_download_events in access exclusive mode")
        dumping = pool.submit(dump, system.running.owner["NEXMDM_DATABASE_URL"], file)
        eventually(lambda: system.db.value(busy), within_s=20.0, what="pg_dump's wait for the lock")
        yield
    dumping.result()


@contextmanager
def serving(system: System, url: str, **settings: str) -> Iterator[System]:
    """A backend on another database, with the same settings but these."""
    stack = system.running
    env = stack.env | {"NEXMDM_DATABASE_URL": stack.postgres.app_url(url)} | settings
    backend = Backend([stack.command, "serve"], env, stack.logs.path)
    try:
        backend.start().wait_ready()
        other = System.of(replace(system.target, base_url=backend.base_url, database_url=url), stack)
        yield other
        other.close()
    finally:
        backend.stop()


@case("backup/001", slow="dumps and restores a live service")
def test_a_backup_of_a_live_service_is_whole_and_serves(
    fresh_backend: FreshBackend, app_role: str, tmp_path: Path
) -> None:
    """What was acknowledged before pg_dump began is restored, and a backend on it serves as before (operations.md)."""
    system: System = fresh_backend()
    stack = system.running
    before, unused = system.device(), system.token()
    command = {"request_id": "cmd-before-the-backup", "device_id": before.device_id, "action": "ping"}
    accepted(system.api.command(command))
    system.logs.wait("dispatch.sent", dispatch_request_id=command["request_id"])
    accepted(before.complete(command["request_id"]))
    package = new_package()
    accepted(upload(system.api, package_name=package), 201)
    assert system.api.admin("GET", "/v1/apk/download-latest", params={"package_name": package}).status == 200

    with enrolling(system) as acknowledged:
        there = {table: keys(system, table) for table in KEYS}
        began = time.monotonic()
        with under_way(system, tmp_path / "live.dump"):
            so_far = len(acknowledged)
            eventually(lambda: len(acknowledged) > so_far + SENDERS, within_s=20.0, what="work during the backup")

    url = stack.postgres.empty(f"{stack.database}_restored")
    try:
        restore(tmp_path / "live.dump", url)
        owner = {"NEXMDM_DATABASE_URL": url}
        assert stack.run("migrate", env=owner) == (0, ""), "at head already"
        with psycopg.connect(url, autocommit=True) as connection:
            assert not set(held(connection, app_role)) & set(RIGHTS), "rights are no part of the backup"
            assert stack.run("grant", app_role, env=owner) == (0, "")
            assert held(connection, app_role) == RIGHTS | FUNCTIONS
        with serving(system, url) as restored:
            for table, rows in there.items():
                assert rows <= keys(restored, table), table
            known = {device.device_id for at, device in acknowledged if at < began}
            assert known <= {
                str(row["device_id"]) for row in restored.db.rows("select device_id from device_heartbeats")
            }
            serves(restored, [before, *(device for at, device in acknowledged if at < began)], unused["token"])
            again = restored.api.command(command)
            accepted(again)
            assert again.headers["idempotent-replay"] == "true"
            wanted = "select count(*) from fcm_dispatches where command_request_id = %s"
            assert restored.db.value(wanted, command["request_id"]) == 1, "sent once, before and after"
            code, said = stack.run("retention", "run", env={"NEXMDM_DATABASE_URL": stack.postgres.app_url(url)})
            assert code == 0, said
    finally:
        stack.postgres.drop(f"{stack.database}_restored")


def keys(system: System, table: str) -> set[str]:
    return {row["key"] for row in system.db.rows(f"select {KEYS[table]} as key from {table}")}


def serves(restored: System, devices: list[Enrolled], unused: str) -> None:
    """Old tokens are good, wrong ones are not, and new rows take new numbers."""
    rows = "select hb_id from device_heartbeats order by hb_id desc limit 1"
    last = restored.db.value(rows)
    for device in devices:
        accepted(restored.api.bearer(device.token, "POST", "/v1/heartbeat", json={"status": "ok"}))
    refused(restored.api.bearer(f"{devices[0].token}x", "POST", "/v1/heartbeat", json={}), 401, "token_invalid")
    accepted(restored.api.bearer(unused, "POST", "/v1/register", json={"agent_version": "1.4.2"}))
    new = restored.device()
    accepted(new.heartbeat())
    assert restored.db.value(rows) > last
    restored.ping(new)
    eventually(restored.settled, within_s=10.0)


# As a write leaves it that was refused long ago.
LONG_REFUSED = """
    insert into objects (zone_id, object_id, size, sha256, pinned_until)
    values (%(zone)s, gen_random_uuid(), 1, repeat('a', 64), now() - interval '1 day')
"""


@case("backup/002", slow="dumps and restores a live service")
def test_contents_are_restored_with_the_database(fresh_backend: FreshBackend, app_role: str, tmp_path: Path) -> None:
    """Contents that are copied after the dump are those of the dump, and an upload goes on where it was (issue 17)."""
    env = {"NEXMDM_PLATFORM_SWEEP_EVERY_S": "0.2", "NEXMDM_PLATFORM_SWEEP_AFTER_S": "60"}
    system: System = fresh_backend(env=env)
    stack, platform = system.running, Platform(system)
    zone = platform.zone()
    for path in ("/kept", "/replaced", "/deleted"):
        zone.write(path, path[1] * MIB)
    uploaded = begin(zone, "/uploaded", 30, content=b"x" * 20)
    dump(stack.owner["NEXMDM_DATABASE_URL"], tmp_path / "live.dump")
    zone.write("/replaced", "later")
    zone.rpc("delete", path="/deleted")
    uploaded.terminate()
    platform.write(LONG_REFUSED, zone=zone.zone_id)
    swept = "select count(*) = 0 from objects where zone_id = %s and sha256 = repeat('a', 64)"
    eventually(lambda: system.db.value(swept, zone.zone_id), within_s=5.0, what="a sweep")
    shutil.copytree(stack.env["NEXMDM_PLATFORM_STORAGE_URL"], tmp_path / "objects")

    url = stack.postgres.empty(f"{stack.database}_restored")
    try:
        restore(tmp_path / "live.dump", url)
        assert stack.run("grant", app_role, env={"NEXMDM_DATABASE_URL": url}) == (0, "")
        with serving(system, url, NEXMDM_PLATFORM_STORAGE_URL=str(tmp_path / "objects")) as restored:
            again = Zone(restored.api, zone.key, zone.zone_id)
            for path in ("/kept", "/replaced", "/deleted"):
                assert again.read(path) == path[1].encode() * MIB
            upload_again = Upload(again, uploaded.url)
            assert upload_again.offset == 20
            upload_again.appended(b"y" * 10, 20)
            assert again.read("/uploaded") == b"x" * 20 + b"y" * 10
            usage = again.usage()
            assert (usage["max_files"], usage["max_storage_bytes"], usage["max_uploads_open"]) == (4, 3 * MIB + 30, 0)
            types = ["zone.created", "write", "write", "write", "upload.created", "write"]
            assert [event["type"] for event in again.log()] == types
    finally:
        stack.postgres.drop(f"{stack.database}_restored")
