"""Answers that are not FCM's own, or that name a time: an attempt is always recorded, no device is lost."""

import json
import time
from email.utils import formatdate
from typing import Any

import pytest

from acceptance.fleet.dispatches import ended, shown
from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.metrics import Metrics
from acceptance.system.system import FreshBackend, NewDevice, System
from harness.fcm.server import FcmControl
from harness.waiting import eventually

HTML = b"<html><body><h1>Access denied</h1></body></html>"
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"


def document(code: int, status: str, fcm_code: str | None = None) -> bytes:
    details = [{"@type": FCM_ERROR, "errorCode": fcm_code}] if fcm_code else []
    return json.dumps({"error": {"code": code, "message": "m", "status": status, "details": details}}).encode()


@case("fcm/012")
@pytest.mark.parametrize(
    "status,body,more",
    [
        pytest.param(200, HTML, {}, id="200 HTML"),
        pytest.param(200, b"", {}, id="200 empty"),
        pytest.param(200, b"{}", {}, id="200 without a message name"),
        pytest.param(200, b"[]", {}, id="200 list"),
        pytest.param(200, b'[{"name": "x"}]', {}, id="200 list of objects"),
        pytest.param(200, b'{"name": ""}', {}, id="200 empty name"),
        pytest.param(200, b'{"name": 7}', {}, id="200 name that is no text"),
        pytest.param(200, b'{"name": "projects/p/mess', {"cut": True}, id="200 cut short"),
        pytest.param(200, b"\xff\xfe{}", {}, id="200 not UTF-8"),
        pytest.param(200, b"[" * 100_000, {}, id="200 deep"),
        pytest.param(200, b" " * 5_000_000 + b"{}", {}, id="200 huge"),
        pytest.param(204, b"", {}, id="204"),
        pytest.param(302, HTML, {}, id="302"),
        pytest.param(400, HTML, {}, id="400 HTML"),
        pytest.param(401, b'{"error": "invalid_token"}', {}, id="401 JSON of another API"),
        pytest.param(403, HTML, {}, id="403 HTML"),
        pytest.param(403, b"\xe9", {}, id="403 not UTF-8"),
        pytest.param(404, HTML, {}, id="404 HTML"),
        pytest.param(404, b'{"error": {"code": 404}}', {}, id="404 JSON of another API"),
        pytest.param(404, b'{"error": {"code": 404, "status": []}}', {}, id="404 status that is no text"),
        pytest.param(503, document(404, "NOT_FOUND", "UNREGISTERED"), {}, id="503 with another's code"),
        pytest.param(407, HTML, {}, id="407"),
        pytest.param(429, document(429, "RESOURCE_EXHAUSTED"), {}, id="429 without FCM's code"),
        pytest.param(500, document(500, "INTERNAL"), {}, id="500 without FCM's code"),
        pytest.param(503, document(503, "UNAVAILABLE"), {}, id="503 without FCM's code"),
    ],
)
def test_an_answer_without_fcms_word_is_retried(
    status: int,
    body: bytes,
    more: dict[str, Any],
    system: System,
    api: Api,
    device: NewDevice,
    logs: Logs,
    fcm: FcmControl,
    db: Database,
    metrics: Metrics,
) -> None:
    """What something before FCM answers is recorded and retried; the token stays alive (001: durable logging)."""
    one = device()
    fcm.script([{"status": status, "body": body, **more}], token=one.fcm_token)
    with metrics.moves({'nexmdm_dispatches_total{status="sent"}': 1, "nexmdm_fcm_send_duration_seconds_count": 2}):
        request_id = system.ping(one)
        eventually(ended(api, request_id, "sent"), within_s=10.0)
    line = logs.wait("dispatch.retry", dispatch_request_id=request_id, attempt=1, http_code=status)
    assert line["fcm_code"] != "OK"
    first, second = [step for step in shown(api, request_id)["transitions"] if step["latency_ms"] is not None]
    assert (first["status"], first["http_code"], first["fcm_code"]) == ("queued", status, line["fcm_code"])
    assert (second["status"], second["http_code"], second["fcm_code"]) == ("sent", 200, "OK")
    assert len(fcm.inbox(one.fcm_token)) == 2
    assert db.value("select fcm_token_dead_at from devices where device_id = %s", one.device_id) is None


@case("fcm/013")
@pytest.mark.parametrize(
    "status,body,code",
    [
        (403, document(403, "PERMISSION_DENIED"), "PERMISSION_DENIED"),
        (404, document(404, "NOT_FOUND"), "NOT_FOUND"),
        (400, document(400, "INVALID_ARGUMENT"), "INVALID_ARGUMENT"),
    ],
)
def test_a_refusal_of_googles_is_final(
    status: int, body: bytes, code: str, system: System, api: Api, device: NewDevice, fcm: FcmControl, db: Database
) -> None:
    """A Google API error without FCM's code (role or API missing) fails at once and leaves the token alone (001)."""
    one = device()
    fcm.script([{"status": status, "body": body, "content_type": "application/json", "times": 0}], token=one.fcm_token)
    request_id = system.ping(one)
    eventually(ended(api, request_id, "failed"), within_s=5.0)
    assert (shown(api, request_id)["http_code"], shown(api, request_id)["fcm_code"]) == (status, code)
    assert len(fcm.inbox(one.fcm_token)) == 1
    assert db.value("select fcm_token_dead_at from devices where device_id = %s", one.device_id) is None


@case("fcm/014")
def test_retry_after_as_a_date_is_obeyed(
    system: System, api: Api, device: NewDevice, logs: Logs, fcm: FcmControl
) -> None:
    """Retry-After as an HTTP-date is the least time to the next attempt (RFC 9110 10.2.3)."""
    one = device()
    until = int(time.time()) + 5
    fcm.script([{"status": 503, "retry_after": formatdate(until, usegmt=True)}], token=one.fcm_token)
    request_id = system.ping(one)
    eventually(ended(api, request_id, "sent"), within_s=15.0)
    logs.wait("dispatch.retry", dispatch_request_id=request_id, http_code=503)
    _, second = fcm.inbox(one.fcm_token)
    assert second["at"] >= until


@case("fcm/015")
@pytest.mark.parametrize(
    "value",
    ["Wed, 21 Oct 2015 07:28:00 GMT", "-5", "soon", "0", "Fri, 31 Dec 9999 25:61:61 GMT", "\u0661"],
)
def test_a_retry_after_that_says_nothing_is_no_pause(
    value: str, system: System, api: Api, device: NewDevice, logs: Logs, fcm: FcmControl
) -> None:
    """A Retry-After that is past or malformed leaves the backoff as it is."""
    one = device()
    fcm.script([{"status": 503, "retry_after": value}], token=one.fcm_token)
    request_id = system.ping(one)
    eventually(ended(api, request_id, "sent"), within_s=5.0)
    assert logs.wait("dispatch.retry", dispatch_request_id=request_id)["retry_in_s"] <= 1


@case("fcm/016", slow="waits 5 s for a command to expire")
@pytest.mark.parametrize("value", ["9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"], ids=lambda value: value[:9])
def test_an_absurd_retry_after_ends_with_the_command(value: str, fresh_backend: FreshBackend) -> None:
    """A Retry-After beyond the command's time is bounded by it: recorded, and the command expires (api.md: expired)."""
    system: System = fresh_backend(env={"NEXMDM_COMMAND_TTL_S": "5"})
    one = system.device()
    system.fcm.script([{"status": 503, "retry_after": value, "times": 0}], token=one.fcm_token)
    request_id = system.ping(one)
    assert 1 < system.logs.wait("dispatch.retry", dispatch_request_id=request_id)["retry_in_s"] <= 5
    eventually(ended(system.api, request_id, "expired"), within_s=15.0)
    assert len(system.fcm.inbox(one.fcm_token)) == 1


@case("fcm/025")
def test_an_answer_that_the_database_cannot_store_is_recorded(
    system: System, api: Api, device: NewDevice, fcm: FcmControl
) -> None:
    """A message name or an error text with a NUL or without end is recorded without it, and sent once (001)."""
    one = device()
    fcm.script([{"status": 200, "body": b'{"name": "a\\u0000b' + b"c" * 1000 + b'"}'}], token=one.fcm_token)
    request_id = system.ping(one)
    eventually(ended(api, request_id, "sent"), within_s=5.0)
    assert shown(api, request_id)["fcm_message_id"].startswith("abccc")
    assert len(fcm.inbox(one.fcm_token)) == 1
    refusal = document(400, "INVALID_ARGUMENT").replace(b'"m"', b'"a\\u0000b"')
    fcm.script([{"status": 400, "body": refusal}], token=one.fcm_token)
    request_id = system.ping(one)
    eventually(ended(api, request_id, "failed"), within_s=5.0)
    assert shown(api, request_id)["error_msg"] == "ab"
