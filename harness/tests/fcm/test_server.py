"""The fake FCM over real HTTP: credentials, Google's error shapes, scripts, inbox, and being down.

It speaks to it as the backend does, with a signed assertion, and never reaches into its state.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import jwt
import pytest

from harness.fcm.app import GOOGLE_TOKEN_URI, JWT_BEARER
from harness.fcm.responses import FCM_ERROR_TYPE, REFUSALS, Scripted
from harness.fcm.server import FcmControl, FcmError, FcmServer, make_service_account
from harness.waiting import eventually

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
PHONE = "phone:0123456789abcdef"


@pytest.fixture(scope="module")
def server() -> Iterator[FcmServer]:
    with FcmServer.start() as started:
        yield started


@pytest.fixture
def fcm(server: FcmServer) -> FcmControl:
    server.control.reset()
    return server.control


def post(server: FcmServer, path: str, body: str, **headers: str) -> tuple[int, dict[str, str], Any]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), json.loads(answer.read() or b"null")
    finally:
        connection.close()


def grant(server: FcmServer, account: str | None = None, **claims: Any) -> tuple[int, Any]:
    facts = json.loads(account or server.service_account)
    now = int(time.time())
    usual = {"iss": facts["client_email"], "aud": GOOGLE_TOKEN_URI, "iat": now, "exp": now + 3600, "scope": SCOPE}
    assertion = jwt.encode(usual | claims, facts["private_key"], "RS256")
    form = urlencode({"grant_type": JWT_BEARER, "assertion": assertion})
    status, _, body = post(server, "/token", form, **{"Content-Type": "application/x-www-form-urlencoded"})
    return status, body


@pytest.fixture
def token(server: FcmServer, fcm: FcmControl) -> str:
    status, body = grant(server)
    assert status == 200
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 3600
    return str(body["access_token"])


def send(
    server: FcmServer, bearer: str, *, to: str = PHONE, project: str = "nexmdm-test", **message: Any
) -> tuple[int, dict[str, str], Any]:
    body = json.dumps({"message": {"token": to, "data": {"action": "ping"}} | message, "validate_only": False})
    return post(server, f"/v1/projects/{project}/messages:send", body, Authorization=f"Bearer {bearer}")


def test_a_message_is_accepted_and_lies_in_the_inbox(server: FcmServer, fcm: FcmControl, token: str) -> None:
    status, _, body = send(server, token, data={"request_id": "r1", "action": "ping"}, android={"priority": "high"})
    assert status == 200
    (item,) = fcm.inbox(PHONE)
    assert item["message_id"] == body["name"]
    assert body["name"].startswith("projects/nexmdm-test/messages/")
    assert item["data"] == {"request_id": "r1", "action": "ping"}
    assert item["android"] == {"priority": "high"}
    assert item["status"] == 200
    assert abs(item["at"] - time.time()) < 5
    assert fcm.inbox("another") == []


@pytest.mark.parametrize("bearer", ["", "ya29.x", "ya29.MTAwMA.00", "wrong", "ya29.é.é"])
def test_a_wrong_bearer_is_refused_and_leaves_nothing(server: FcmServer, fcm: FcmControl, bearer: str) -> None:
    status, _, body = send(server, bearer.encode().decode("latin-1"))
    assert status == 401
    assert body["error"]["status"] == "UNAUTHENTICATED"
    assert all(detail["@type"] != FCM_ERROR_TYPE for detail in body["error"]["details"])
    assert fcm.inbox() == []


def test_a_changed_token_is_refused(server: FcmServer, token: str) -> None:
    head, body, seal = token.split(".")
    for forged in (f"{head}.{body}.{seal[::-1]}", f"{head}.{body[:-4]}AAAA.{seal}", f"{head}.{body}"):
        assert send(server, forged)[0] == 401


@pytest.mark.parametrize(
    "claims, error",
    [
        ({"exp": 1_700_000_000, "iat": 1_699_999_000}, "invalid_grant"),
        ({"exp": 4_102_444_800}, "invalid_grant"),
        ({"aud": "https://elsewhere.test/token"}, "invalid_grant"),
        ({"iss": "somebody@else.test"}, "invalid_grant"),
        ({"scope": "https://www.googleapis.com/auth/drive"}, "invalid_scope"),
    ],
)
def test_a_bad_assertion_gets_no_token(server: FcmServer, claims: dict[str, Any], error: str) -> None:
    status, body = grant(server, **claims)
    assert status == 400
    assert body["error"] == error
    assert "access_token" not in body


def test_an_assertion_signed_with_another_key_gets_no_token(server: FcmServer) -> None:
    status, body = grant(server, make_service_account(f"{server.url}/token"))
    assert (status, body["error"], body["error_description"]) == (400, "invalid_grant", "Invalid JWT Signature.")


@pytest.mark.parametrize("form", ["", "grant_type=password", f"grant_type={JWT_BEARER}&assertion=nonsense"])
def test_another_grant_gets_no_token(server: FcmServer, form: str) -> None:
    status, _, body = post(server, "/token", form, **{"Content-Type": "application/x-www-form-urlencoded"})
    assert status == 400
    assert "access_token" not in body


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_each_error_has_googles_shape(server: FcmServer, fcm: FcmControl, token: str, code: str) -> None:
    fcm.script([{"error_code": code}])
    status, _, body = send(server, token)
    expected_status, rpc_status, _ = REFUSALS[code]
    assert status == body["error"]["code"] == expected_status
    assert body["error"]["status"] == rpc_status
    assert {"@type": FCM_ERROR_TYPE, "errorCode": code} in body["error"]["details"]
    assert [(item["status"], item["message_id"]) for item in fcm.inbox()] == [(expected_status, None)]
    assert send(server, token)[0] == 200


def test_a_quota_answer_says_when_to_retry(server: FcmServer, fcm: FcmControl, token: str) -> None:
    fcm.script([{"status": 429, "retry_after": 7}])
    status, headers, body = send(server, token)
    assert (status, headers["Retry-After"]) == (429, "7")
    assert body["error"]["details"][0]["errorCode"] == "QUOTA_EXCEEDED"


@pytest.mark.parametrize(
    "message, field",
    [
        ({"token": ""}, "message.token"),
        ({"token": None}, "message.token"),
        ({"data": {"action": 1}}, "message.data"),
        ({"data": {"blob": "x" * 4097}}, "message"),
    ],
)
def test_a_malformed_message_is_an_invalid_argument(
    server: FcmServer, fcm: FcmControl, token: str, message: dict[str, Any], field: str
) -> None:
    status, _, body = send(server, token, **message)
    assert status == 400
    assert [detail.get("fieldViolations", [{}])[0].get("field") for detail in body["error"]["details"]] == [None, field]
    assert fcm.inbox() == []


def test_a_body_that_is_no_json_and_another_project_are_refused(server: FcmServer, token: str) -> None:
    path = "/v1/projects/nexmdm-test/messages:send"
    assert post(server, path, "{", Authorization=f"Bearer {token}")[0] == 400
    assert post(server, path, "[]", Authorization=f"Bearer {token}")[0] == 400
    status, _, body = send(server, token, project="another")
    assert (status, body["error"]["status"]) == (403, "PERMISSION_DENIED")


def test_a_script_for_one_token_leaves_the_others_alone(server: FcmServer, fcm: FcmControl, token: str) -> None:
    fcm.script([{"status": 404, "times": 2}], token=PHONE)
    fcm.script([{"status": 503, "times": 0}])
    assert [send(server, token)[0] for _ in range(3)] == [404, 404, 503]
    assert [send(server, token, to="other:0123456789")[0] for _ in range(3)] == [503, 503, 503]
    fcm.reset()
    assert send(server, token, to="other:0123456789")[0] == 200


def test_a_dropped_connection_brings_no_answer(server: FcmServer, fcm: FcmControl, token: str) -> None:
    fcm.script([{"drop": True}, {"drop": True, "status": 200}])
    for _ in range(2):
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            send(server, token)
    assert [item["status"] for item in fcm.inbox()] == [0, 200]


def test_a_slow_answer_is_slow(server: FcmServer, fcm: FcmControl, token: str) -> None:
    fcm.script([{"delay_s": 0.3}])
    begun = time.monotonic()
    assert send(server, token)[0] == 200
    assert time.monotonic() - begun >= 0.3


def test_oauth_can_be_down(server: FcmServer, fcm: FcmControl) -> None:
    fcm.script_oauth([{"status": 503, "times": 2}, {"drop": True}])
    assert [grant(server)[0] for _ in range(2)] == [503, 503]
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        grant(server)
    assert grant(server)[0] == 200


@pytest.mark.parametrize("status", [200, 403, 418])
def test_something_else_answers_in_fcms_place(server: FcmServer, fcm: FcmControl, token: str, status: int) -> None:
    fcm.script([{"status": status, "body": b'["\xc3\xa9"]', "content_type": "text/plain", "retry_after": "soon"}])
    got, headers, body = send(server, token)
    assert (got, headers["Content-Type"], headers["Retry-After"], body) == (status, "text/plain", "soon", ["é"])
    [item] = fcm.inbox()
    assert (item["status"], item["message_id"]) == (status, None), "FCM has taken nothing"


def test_an_answer_can_be_cut_short(server: FcmServer, fcm: FcmControl, token: str) -> None:
    fcm.script([{"body": b"{}", "cut": True}])
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        send(server, token)


def test_an_access_token_lives_as_long_as_scripted(server: FcmServer, fcm: FcmControl) -> None:
    fcm.script_oauth([{"life_s": 1}])
    _, granted = grant(server)
    assert granted["expires_in"] == 1
    assert send(server, granted["access_token"])[0] == 200
    eventually(lambda: send(server, granted["access_token"])[0] == 401, within_s=3)


def test_requests_for_a_token_are_counted_and_named_by_what_is_sent_with_them(
    server: FcmServer, fcm: FcmControl
) -> None:
    fcm.script_oauth([{"status": 200, "body": b"<html>"}, {"status": 503}])
    with pytest.raises(json.JSONDecodeError):
        grant(server)
    assert grant(server)[0] == 503
    bearer = grant(server)[1]["access_token"]
    send(server, bearer)
    *failed, asked = fcm.token_requests()
    assert [one["grant"] for one in failed] == [None, None]
    assert asked["grant"] == fcm.inbox()[-1]["grant"]
    fcm.reset()
    assert fcm.token_requests() == []


def test_a_revoked_token_is_refused_and_the_next_is_not(server: FcmServer, fcm: FcmControl) -> None:
    bearer = grant(server)[1]["access_token"]
    fcm.revoke()
    assert send(server, bearer)[0] == 401
    assert send(server, grant(server)[1]["access_token"])[0] == 200


@pytest.mark.parametrize(
    "answer",
    [
        {"error_code": "UNREGISTRED"},
        {"status": 418},
        {"status": 999, "body": b""},
        {"stat": 503},
        {"times": -1},
        {"times": "2"},
        {"life_s": 3},
        "503",
    ],
)
def test_a_typo_in_a_script_is_an_error_and_not_a_success(fcm: FcmControl, answer: Any) -> None:
    with pytest.raises(ValueError, match=r"error_code|status|times|an answer|body"):
        Scripted.parse(answer)
    with pytest.raises(FcmError, match="refused POST /_control/script: 400"):
        fcm.script([answer])


def test_the_inbox_waits_for_the_first_message(server: FcmServer, fcm: FcmControl, token: str) -> None:
    begun = time.monotonic()
    assert fcm.inbox(PHONE, wait_s=0.2) == []
    assert time.monotonic() - begun >= 0.2
    later = threading.Timer(0.2, send, (server, token))
    later.start()
    (first,) = fcm.inbox(PHONE, wait_s=10)
    later.join()
    assert time.monotonic() - begun < 5
    send(server, token, to="other:0123456789")
    assert [item["token"] for item in fcm.inbox(after=first["seq"])] == ["other:0123456789"]
    assert fcm.inbox(PHONE, after=first["seq"]) == []


def test_down_is_refused_and_a_restart_keeps_port_token_and_inbox(token: str) -> None:
    with FcmServer.start() as own:
        bearer = str(grant(own)[1]["access_token"])
        assert send(own, bearer)[0] == 200
        own.control.script([{"status": 503, "times": 0}])
        url, account, before = own.url, own.service_account, own.control.inbox()
        own.kill()
        with pytest.raises(FcmError, match="does not answer"):
            own.control.inbox()
        with pytest.raises(FcmError, match="does not run"):
            assert own.pid
        own.restart()
        assert (own.url, own.service_account) == (url, account)
        assert own.control.inbox() == before
        assert send(own, bearer)[0] == 200
        assert [item["seq"] for item in own.control.inbox()] == [1, 2]
        assert send(own, token)[0] == 401, "a token of another server"


def test_a_server_that_cannot_start_is_an_error_with_its_reason(server: FcmServer) -> None:
    with pytest.raises(FcmError, match=r"ended with exit code 1[\s\S]*address already in use"):
        FcmServer.start(urlsplit(server.url).port or 0)


def test_stop_twice_is_fine() -> None:
    own = FcmServer.start()
    own.stop()
    own.stop()
