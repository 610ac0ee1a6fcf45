"""Races on one row through two workers: exactly one wins, whatever the worker."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import psycopg

from acceptance.answers import accepted, refused
from acceptance.apks import apk, new_package, upload
from acceptance.case import case
from acceptance.concurrently import at_once
from acceptance.system import System, new_alias
from acceptance.workers import both, race
from harness.client import Answer
from harness.waiting import eventually

Race = Callable[[], list[Answer]]

BEAT = """
    insert into device_heartbeats (device_id, bucket, ts, status)
    values (%s, date_bin('10 seconds', now(), timestamptz 'epoch'), now(), 'ok')
"""
BUILD = """
    insert into apk_versions
        (package_name, version_code, version_name, build_type, size_bytes, sha256, storage_url)
    values (%s, 3, '1.0.0', 'release', 1, repeat('0', 64), 'nowhere')
"""


@case("races/001", "registerDevice 200", "registerDevice 401")
def test_fifty_registrations_race_for_a_single_use(two_workers: System) -> None:
    """Of 50 registrations on one single-use token exactly one gets a device, 49 get 401 token_exhausted (api.md)."""
    system, token = two_workers, two_workers.token()
    body = {"agent_version": "1.4.2"}
    answers = race(system, [lambda: system.api.bearer(token["token"], "POST", "/v1/register", json=body)] * 50)
    assert Counter(answer.status for answer in answers) == {200: 1, 401: 49}
    for answer in answers:
        if answer.status == 401:
            refused(answer, 401, "token_exhausted")
            system.logs.expect(answer, "register.fail", code="token_exhausted")
    assert system.db.value("select count(*) from devices where alias = %s", token["alias"]) == 1
    assert system.db.value("select uses_consumed from enrollment_tokens where token_id = %s", token["token_id"]) == 1


@case("races/002", "recordHeartbeat 200")
def test_two_hundred_heartbeats_are_a_row_per_bucket(two_workers: System) -> None:
    """200 heartbeats of one device in 2 s leave at most two rows; last_seen has moved; none is lost (000 A; api.md)."""
    system, device = two_workers, two_workers.device()
    body = {"status": "warn"}
    posts = [lambda: system.api.bearer(device.token, "POST", "/v1/heartbeat", json=body)] * 25
    with both(system), ThreadPoolExecutor(1) as pool:
        eventually(lambda: system.db.value("select extract(epoch from now()) % 10 < 6"), within_s=6.0)
        before, started = system.db.value("select now()"), time.monotonic()
        # The first row of the bucket is what both workers want to write: neither has it, and each has to wait.
        with unfinished(system, BEAT, device.device_id) as wait_for:
            first = pool.submit(at_once, posts)
            wait_for(2)
        answers = first.result() + [answer for _ in range(7) for answer in at_once(posts)]
    took_s = time.monotonic() - started
    bodies = [accepted(answer) for answer in answers]
    rows = system.db.value("select count(*) from device_heartbeats where device_id = %s", device.device_id)
    assert rows <= 1 + int(took_s // 10 + 1), f"{rows} rows in {took_s:.1f} s"
    assert sum(not body["deduplicated"] for body in bodies) == rows
    after = system.db.row("select * from device_status where device_id = %s", device.device_id)
    assert after["last_seen"] > before
    assert after["last_status"] == "warn"
    duplicate = next(answer for answer in answers if answer.json()["deduplicated"])
    system.logs.expect(duplicate, "heartbeat.dedup_hit", device_id=device.device_id)


@case("races/003", "sendCommand 200")
def test_twenty_posts_of_one_command_are_one_message(two_workers: System) -> None:
    """20 simultaneous posts of one signed command: one row, one message, 20 equal answers (000 A: idempotency)."""
    system, device = two_workers, two_workers.device()
    raw, stamp = json.dumps({"device_id": device.device_id, "action": "ping"}).encode(), int(time.time())
    # All have found no such command, and are about to look at its device, when its row is let go.
    row = "select from devices where device_id = %s for update"
    answers = race_after(system, [lambda: system.api.command(raw=raw, timestamp=stamp)] * 20, row, device.device_id)
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert sum("idempotent-replay" not in answer.headers for answer in answers) == 1
    first = next(answer for answer in answers if "idempotent-replay" not in answer.headers)
    system.logs.expect(first, "dispatch.request", device_id=device.device_id)
    system.fcm.inbox(device.fcm_token, wait_s=5.0)
    eventually(system.settled, within_s=5.0)
    assert len(system.fcm.inbox(device.fcm_token)) == 1
    assert system.db.value("select count(*) from fcm_dispatches where device_id = %s", device.device_id) == 1


@case("races/004", "completeAction 200")
def test_twenty_results_are_one_completion(two_workers: System) -> None:
    """20 simultaneous results of one dispatch: one completes it, 19 are replays of it (000 A: idempotency)."""
    system, device = two_workers, two_workers.device()
    request_id = accepted(system.api.command({"device_id": device.device_id, "action": "ping"}))["request_id"]
    system.logs.wait("dispatch.sent", dispatch_request_id=request_id)
    row = "select from fcm_dispatches where request_id = %s for update"
    answers = race_after(system, [lambda: device.complete(request_id)] * 20, row, request_id)
    bodies = [accepted(answer) for answer in answers]
    assert Counter(body["replayed"] for body in bodies) == {False: 1, True: 19}
    assert len({body["completed_at"] for body in bodies}) == 1
    steps = system.db.rows("select status from dispatch_transitions where request_id = %s", request_id)
    assert [step["status"] for step in steps].count("completed") == 1
    system.logs.wait("action_result.ingest", dispatch_request_id=request_id)


@case("races/005", "registerDevice 200")
def test_tokens_of_one_alias_race_to_one_device(two_workers: System) -> None:
    """Ten tokens of one alias used at once make one device; one of its ten tokens is good afterwards (api.md)."""
    system, alias = two_workers, new_alias()
    tokens = [system.token(aliases=[alias])["token"] for _ in range(10)]
    post = partial(system.api.bearer, method="POST", path="/v1/register", json={"agent_version": "1.4.2"})
    with held_back(system, "devices", 10) as start:
        answers = start(lambda: race(system, [partial(post, token) for token in tokens]))
    bodies = [accepted(answer) for answer in answers.result()]
    assert len({body["device_id"] for body in bodies}) == 1
    beats = [system.api.bearer(body["device_token"], "POST", "/v1/heartbeat", json={"status": "ok"}) for body in bodies]
    assert Counter(answer.status for answer in beats) == {200: 1, 401: 9}
    assert system.db.value("select token_version from devices where alias = %s", alias) == 10
    system.logs.wait("register.success", alias=alias, reenrolled=False)


@contextmanager
def held_back(system: System, table: str, writers: int) -> Iterator[Callable[[Race], Future[list[Answer]]]]:
    """Starts a race in the block and lets its writers go at the end, when all of them wait for the table at once.

    So each transaction began before any could write: who is first by the clock is not who is first in the table.
    """
    waiting = f"select count(*) from pg_locks where relation = '{table}'::regclass and not granted"
    with psycopg.connect(system.target.database_url or "") as owner, ThreadPoolExecutor(1) as pool:
        owner.execute(f"lock table {table} in share mode".encode())
        yield pool.submit
        eventually(lambda: system.db.value(waiting) == writers, within_s=4.0)
        owner.commit()


@case("races/006", "uploadApkBuild 201", "uploadApkBuild 409")
def test_equal_uploads_race_to_one_build(two_workers: System) -> None:
    """Eight simultaneous uploads of one version: one 201, seven 409, one row, whole bytes (api.md)."""
    system, package, content = two_workers, new_package(), apk(200_000)
    calls = [lambda: upload(system.api, content, package_name=package, version_code=3)] * 8
    answers = race_after(system, calls, BUILD, package)
    assert Counter(answer.status for answer in answers) == {201: 1, 409: 7}
    assert system.db.value("select count(*) from apk_versions where package_name = %s", package) == 1
    stored = system.api.admin("GET", "/v1/apk/download-latest", params={"package_name": package})
    assert stored.body == content
    system.logs.wait("apk.upload", package_name=package)


@case("races/007", "revokeEnrollToken 200", "revokeEnrollToken 409")
def test_a_revocation_and_a_registration_race(two_workers: System) -> None:
    """Of a revocation and a registration of one token that race, one wins and the other is told so (api.md)."""
    system = two_workers
    for first in ("revocation", "registration"):
        token = system.token()
        calls: dict[str, Callable[[], Answer]] = {
            "revocation": partial(system.api.admin, "DELETE", f"/v1/enroll-tokens/{token['token_id']}"),
            "registration": partial(
                system.api.bearer, token["token"], "POST", "/v1/register", json={"agent_version": "1.4.2"}
            ),
        }
        answers: dict[str, Future[Answer]] = {}
        # Both have begun, and neither knows of the other, when the row is let go: it serves who came first.
        with ThreadPoolExecutor(2) as pool:
            with unfinished(
                system, "select from enrollment_tokens where token_id = %s for update", token["token_id"]
            ) as wait_for:
                for number, name in enumerate(sorted(calls, key=lambda name: name != first), 1):
                    answers[name] = pool.submit(calls[name])
                    wait_for(number)
            revoked, registered = answers["revocation"].result(), answers["registration"].result()
        if first == "revocation":
            accepted(revoked)
            refused(registered, 401, "token_revoked")
            system.logs.expect(revoked, "sec.token.revoke", token_id=token["token_id"])
        else:
            accepted(registered)
            refused(revoked, 409, "token_not_active")
            system.logs.expect(registered, "register.success", token_id=token["token_id"])
        row = system.db.row("select * from enrollment_tokens where token_id = %s", token["token_id"])
        assert (row["uses_consumed"], row["revoked_at"] is None) == ((0, False) if first == "revocation" else (1, True))
        devices = system.db.value("select count(*) from devices where alias = %s", token["alias"])
        assert devices == row["uses_consumed"]


@contextmanager
def unfinished(system: System, statement: str, *values: object) -> Iterator[Callable[[int], None]]:
    """A transaction that others run into in the block, and that is undone at its end.

    Yields a function that returns when so many sessions wait for one another or for this one.
    """
    waiting = (
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and cardinality(pg_blocking_pids(pid)) > 0"
    )

    def wait_for(sessions: int) -> None:
        eventually(lambda: system.db.value(waiting) == sessions, within_s=4.0)

    with psycopg.connect(system.target.database_url or "") as other:
        other.execute(statement.encode(), values)
        yield wait_for
        other.rollback()


def race_after(system: System, calls: Sequence[Callable[[], Answer]], statement: str, *values: object) -> list[Answer]:
    """A race in which each call has begun, and waits for what the statement holds, before any can go on."""
    with ThreadPoolExecutor(1) as pool:
        with unfinished(system, statement, *values) as wait_for:
            racing = pool.submit(race, system, calls)
            wait_for(len(calls))
        return racing.result()
