"""Races on one row through two workers: exactly one wins, whatever the worker."""

import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from acceptance.fleet.apks import new_package, upload
from acceptance.suite.case import case
from acceptance.system.concurrency import at_once
from acceptance.system.locks import held_back, race_after, unfinished
from acceptance.system.match import accepted, refused
from acceptance.system.system import System, new_alias
from acceptance.system.web_workers import background_process, both, frozen, race
from harness.devices.apk import apk
from harness.http.client import Answer
from harness.waiting import eventually

BEAT = """
    insert into device_heartbeats (device_id, bucket, ts, status)
    values (%s, date_bin('10 seconds', now(), timestamptz 'epoch'), now(), 'ok')
"""
BUILD = """
    insert into apk_versions
        (package_name, version_code, version_name, build_type, size_bytes, sha256, storage_url)
    values (%s, 3, '1.0.0', 'release', 1, repeat('0', 64), 'nowhere')
"""
COMMAND = """
    insert into commands (request_id, action, content_hash, http_request_id, expires_at)
    values (%s, 'ping', repeat('0', 64), 'nobody', now() + interval '1 hour')
"""
CLONE = """
    insert into devices (device_id, alias, token_hash, agent_version, fcm_token)
    values (gen_random_uuid(), %s, '$2b$10$' || repeat('a', 53), '1.4.2', %s)
"""
# A session that waited a second for a deadlock has reported it when it answers.
DEADLOCKS = "select deadlocks from pg_stat_database where datname = current_database()"
SENDING = "select status = 'sending' from fcm_dispatches where request_id = %s"


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


@case("races/008", "registerDevice 200", "recordHeartbeat 200")
@pytest.mark.parametrize("how", ["registrations", "heartbeats"])
def test_cloned_devices_race_for_one_fcm_token(how: str, two_workers: System) -> None:
    """Of devices that bring one FCM token at once all are let in, and one of them has the token (issue 11)."""
    system, fcm_token = two_workers, f"fcm:cloned-{new_alias()}"
    if how == "registrations":
        body = {"agent_version": "1.4.2", "fcm_token": fcm_token}
        post = partial(system.api.bearer, method="POST", path="/v1/register", json=body)
        calls = [partial(post, system.token()["token"]) for _ in range(2)]
    else:
        calls = [partial(system.device(fcm_token=None).heartbeat, fcm_token=fcm_token) for _ in range(4)]
    with system.metrics.moves({"nexmdm_fcm_tokens_moved_total": len(calls) - 1}):
        # A device that is being stored has the token: all find that out, and wait, before it is gone again.
        answers = race_after(system, calls, CLONE, new_alias(), fcm_token)
        assert [answer.status for answer in answers] == [200] * len(calls)
    rows = system.db.rows("select * from devices where fcm_token = %s", fcm_token)
    assert len(rows) == len(calls)
    [owner] = [str(row["device_id"]) for row in rows if row["fcm_token_dead_at"] is None]
    moves = [line for answer in answers for line in system.logs.of(answer, "device.fcm_token_moved")]
    losers = {line["from_device_id"] for line in moves}
    assert losers == {str(row["device_id"]) for row in rows} - {owner}


@case("races/009", "sendCommand 200", "retireDevice 200")
def test_a_command_and_a_retirement_race(two_workers: System) -> None:
    """A command that is being stored when its device is retired is withdrawn with the others (issue 11)."""
    system, device = two_workers, two_workers.device()
    command = {"request_id": f"cmd-{new_alias()}", "device_id": device.device_id, "action": "ping"}
    # The dispatcher rests: it may send what is stored before the retirement is.
    with both(system), frozen(background_process(system)), ThreadPoolExecutor(2) as pool:
        with unfinished(system, COMMAND, command["request_id"]) as wait_for:
            sent = pool.submit(system.api.command, command)
            wait_for(1)
            retired = pool.submit(system.api.admin, "DELETE", f"/v1/devices/{device.device_id}")
            wait_for(2)
        accepted(sent.result())
        accepted(retired.result())
    row = system.db.row("select * from fcm_dispatches where request_id = %s", command["request_id"])
    assert (row["status"], row["fcm_status"]) == ("failed", "device_retired")
    system.logs.expect(retired.result(), "dispatch.fail", dispatch_request_id=command["request_id"])
    assert system.fcm.inbox(device.fcm_token) == []


@case("races/010", "retireDevice 200", "registerDevice 200")
@pytest.mark.parametrize("how", ["retired", "enrolled again"])
def test_a_dead_token_and_the_end_of_its_device_race(how: str, two_workers: System) -> None:
    """FCM's UNREGISTERED, recorded while its device is retired or enrolled again, is no deadlock (issue 11)."""
    system, device = two_workers, two_workers.device()
    token = system.token(aliases=[device.alias])["token"]
    before = system.db.value(DEADLOCKS)
    calls: dict[str, Callable[[], Answer]] = {
        "retired": partial(system.api.admin, "DELETE", f"/v1/devices/{device.device_id}"),
        "enrolled again": partial(system.api.bearer, token, "POST", "/v1/register", json={"agent_version": "1.4.2"}),
    }
    said = {"status": 404, "error_code": "UNREGISTERED", "delay_s": 1.0, "times": 0}
    system.fcm.script([said], token=device.fcm_token)
    request_id = system.ping(device)
    eventually(lambda: system.db.value(SENDING, request_id), within_s=5.0)
    with ThreadPoolExecutor(1) as pool:
        with unfinished(system, "select from fcm_dispatches where request_id = %s for update", request_id) as wait_for:
            wait_for(1)  # the dispatcher, with FCM's answer
            ended = pool.submit(calls[how])
            wait_for(2)
        accepted(ended.result())
    eventually(system.settled, within_s=5.0)
    row = system.db.row("select * from fcm_dispatches where request_id = %s", request_id)
    assert (row["status"], row["fcm_status"]) == ("failed", "UNREGISTERED")
    assert system.db.value(DEADLOCKS) == before
    system.logs.wait("dispatch.fail", dispatch_request_id=request_id, fcm_code="UNREGISTERED")


@case("races/011", "recordHeartbeat 200")
def test_two_devices_exchange_their_fcm_tokens(two_workers: System) -> None:
    """Two devices that each bring the other's FCM token at once both get it; it is no deadlock (issue 11)."""
    system, first, second = two_workers, two_workers.device(), two_workers.device()
    before = system.db.value(DEADLOCKS)
    row = "select from devices where device_id = %s for no key update"
    with ThreadPoolExecutor(2) as pool:
        with unfinished(system, row, min(first.device_id, second.device_id)) as wait_for:
            one = pool.submit(second.heartbeat, fcm_token=first.fcm_token)
            wait_for(1)
            other = pool.submit(first.heartbeat, fcm_token=second.fcm_token)
            wait_for(2)
        answers = [accepted(one.result()), accepted(other.result())]
    assert all(answer["ok"] for answer in answers)
    assert system.db.value(DEADLOCKS) == before
    live = "select fcm_token from devices where device_id = %s and fcm_token_dead_at is null"
    assert system.db.value(live, first.device_id) == second.fcm_token
    assert system.db.value(live, second.device_id) == first.fcm_token
    system.logs.expect(one.result(), "device.fcm_token_moved", device_id=second.device_id)


@case("races/012", "completeAction 200", "getDispatch 200")
def test_a_device_answers_while_its_attempt_is_recorded(two_workers: System) -> None:
    """A result that is stored while FCM's answer waits to be recorded keeps the dispatch completed, with both (001)."""
    system, device = two_workers, two_workers.device()
    system.fcm.script([{"status": 200, "delay_s": 1.0}], token=device.fcm_token)
    request_id = system.ping(device)
    eventually(lambda: system.db.value(SENDING, request_id), within_s=5.0)
    with ThreadPoolExecutor(1) as pool:
        with unfinished(system, "select from fcm_dispatches where request_id = %s for update", request_id) as wait_for:
            answer = pool.submit(device.complete, request_id)
            wait_for(1)
            wait_for(2)  # the dispatcher, with FCM's answer
        accepted(answer.result())
    system.logs.wait("dispatch.sent", dispatch_request_id=request_id)
    shown = accepted(system.api.admin("GET", f"/admin/dispatches/{request_id}"))
    assert (shown["status"], shown["outcome"], shown["http_code"], shown["fcm_code"]) == ("completed", "ok", 200, "OK")
    assert shown["sent_at"]
    assert Counter(step["status"] for step in shown["transitions"]) == Counter(
        ["queued", "sending", "completed", "sent"]
    )
