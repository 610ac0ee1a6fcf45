"""What holds for every operation: who is let in first, framework answers, body rules."""

from collections.abc import Callable

import pytest

from acceptance.answers import accepted, refused
from acceptance.api import Api
from acceptance.case import case
from acceptance.contract import Contract, Operation
from acceptance.logs import Logs
from acceptance.system import System, Unchanged
from harness.client import Answer

UNKNOWN = "01890000-0000-7000-8000-000000000000"
JSON = {"Content-Type": "application/json"}
Sender = Callable[[bytes, dict[str, str]], Answer]


def path_of(operation: Operation) -> str:
    return (
        operation.template.replace("{device_id}", UNKNOWN)
        .replace("{token_id}", UNKNOWN)
        .replace("{request_id}", "some-dispatch")
    )


def senders(system: System) -> dict[str, Sender]:
    """For each operation with a JSON body: a function that sends raw bytes with good credentials."""
    api, device, token = system.api, system.somebody, system.token(uses_allowed=1000)["token"]
    return {
        "registerDevice": lambda raw, headers: api.bearer(token, "POST", "/v1/register", content=raw, headers=headers),
        "recordHeartbeat": lambda raw, headers: api.bearer(
            device.token, "POST", "/v1/heartbeat", content=raw, headers=headers
        ),
        "completeAction": lambda raw, headers: api.bearer(
            device.token, "POST", "/v1/action-result", content=raw, headers=headers
        ),
        "sendCommand": lambda raw, headers: api.command(raw=raw, headers=headers),
        "createEnrollTokens": lambda raw, headers: api.admin("POST", "/v1/enroll-tokens", content=raw, headers=headers),
    }


@case("errors/001")
@pytest.mark.parametrize(
    "keys",
    [[], ["wrong-admin-key-0123456789"], [""], ["{key}", "{key}"]],
    ids=["missing", "wrong", "empty", "two headers"],
)
def test_admin_operations_are_for_admins(
    keys: list[str], system: System, api: Api, logs: Logs, unchanged: Unchanged
) -> None:
    """Every admin operation without exactly one right X-Admin is a 403 admin_required (000 A: 403)."""
    operations = [one for one in api.contract.operations if one.operation_id in admin_only(api.contract)]
    assert len(operations) >= 13
    headers = [*JSON.items(), *(("X-Admin", key.format(key=system.target.admin_key)) for key in keys)]
    with unchanged():
        answers = [
            api.request(one.method, path_of(one), headers=headers, content=b"{")
            for one in operations
            if one.method == "POST"
        ]
        answers += [
            api.request(one.method, path_of(one), headers=headers[1:]) for one in operations if one.method != "POST"
        ]
    for answer in answers:
        refused(answer, 403, "admin_required")
        logs.expect(answer, "sec.auth.fail", code="admin_required")


def admin_only(contract: Contract) -> set[str]:
    return {
        contract.document["paths"][one.template][one.method.lower()]["operationId"]
        for one in contract.operations
        if contract.document["paths"][one.template][one.method.lower()].get("security") == [{"adminKey": []}]
    }


@case("errors/002")
def test_credentials_are_judged_before_the_body(api: Api, logs: Logs, unchanged: Unchanged) -> None:
    """A request with wrong credentials and a broken body is told about the credentials only (api.md)."""
    with unchanged():
        for path in ("/v1/register", "/v1/heartbeat", "/v1/action-result"):
            answer = api.request("POST", path, content=b"{", headers=JSON)
            refused(answer, 401, "token_missing")
            logs.expect(answer, "sec.auth.fail", code="token_missing")
        refused(
            api.request("POST", "/admin/command", content=b"{", headers={"Content-Type": "text/plain"}),
            403,
            "admin_required",
        )
        refused(api.admin("POST", "/admin/command", content=b"{", headers=JSON), 403, "signature_missing")


@case("errors/003")
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"a": 1} x',
        b"{'a': 1}",
        # These four would be good but for the one value: a heartbeat, or a result.
        b'{"status": "ok", "temp_c": NaN}',
        b'{"status": "ok", "temp_c": Infinity}',
        b'{"status": "ok", "temp_c": -Infinity}',
        b'{"request_id": "some-dispatch", "outcome": "ok", "message": "\\ud800"}',
        b'{"a": "\xff"}',
        '{"status": "ok"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"status": "ok"}',
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b"[" * 20_000,
        b'{"a": 01}',
        b"nul",
    ],
    ids=lambda raw: repr(raw[:34]),
)
def test_a_body_that_is_not_json_is_refused(raw: bytes, system: System, logs: Logs, unchanged: Unchanged) -> None:
    """What is not JSON in UTF-8, NaN, Infinity and lone surrogates included, is a 400 malformed_json (api.md)."""
    send = senders(system)
    with unchanged():
        answers = [one(raw, JSON) for one in send.values()]
    for answer in answers:
        refused(answer, 400, "malformed_json")
        logs.expect(answer, "http.request", status=400)


@case("errors/004")
def test_a_number_of_five_thousand_digits_is_refused(system: System, logs: Logs, unchanged: Unchanged) -> None:
    """A number beyond every bound is refused, whatever its length, and never a 500 (harness.md)."""
    send = senders(system)
    with unchanged():
        for raw in (b'{"status": "ok", "uptime_s": ' + b"9" * 5000 + b"}", b'{"status": "ok", "temp_c": 1e400}'):
            answer = send["recordHeartbeat"](raw, JSON)
            assert answer.status in (400, 422), answer.body
            logs.expect(answer, "http.request", status=answer.status)


@case("errors/005")
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": ""},
        {"Content-Type": "application/json; charset=utf-16"},
        {**JSON, "Content-Encoding": "gzip"},
    ],
    ids=lambda headers: " ".join(headers.values()) or "none",
)
def test_another_media_type_is_refused(
    headers: dict[str, str], system: System, logs: Logs, unchanged: Unchanged
) -> None:
    """A JSON operation takes application/json in UTF-8, not encoded, and says 415 to everything else (api.md)."""
    send = senders(system)
    with unchanged():
        answers = [one(b'{"status": "ok"}', headers) for one in send.values()]
    for answer in answers:
        refused(answer, 415, "unsupported_media_type")
        logs.expect(answer, "http.request", status=415)
    accepted(send["recordHeartbeat"](b'{"status": "ok"}', {"Content-Type": "application/json; charset=utf-8"}))


@case("errors/006")
def test_a_body_above_64_kib_is_refused(system: System, logs: Logs, unchanged: Unchanged) -> None:
    """A JSON body of 64 KiB is read, one byte more is a 413 (api.md)."""
    send = senders(system)
    full = b'{"status": "ok"' + b" " * (65536 - 16) + b"}"
    assert len(full) == 65536
    with unchanged():
        answers = [one(full + b" ", JSON) for one in send.values()]
    for answer in answers:
        refused(answer, 413, "payload_too_large")
        logs.expect(answer, "http.request", status=413)
    accepted(send["recordHeartbeat"](full, JSON))


@case("errors/007")
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/heartbeat/",
        "/v1/devices/",
        "/V1/heartbeat",
        "/v1//heartbeat",
        "/admin",
        "/favicon.ico",
        "/v1/apk/builds/1",
        "/docs/",
    ],
)
def test_an_unknown_path_is_refused(path: str, api: Api, logs: Logs, unchanged: Unchanged) -> None:
    """An unknown path is a 404 not_found problem, and a trailing slash does not redirect (api.md)."""
    with unchanged():
        answers = [api.request(method, path) for method in ("GET", "POST")]
    for answer in answers:
        refused(answer, 404, "not_found")
        logs.expect(answer, "http.request", status=404)


@case("errors/008")
def test_a_wrong_method_is_told_the_right_ones(api: Api, logs: Logs, unchanged: Unchanged) -> None:
    """A method that a path does not have is a 405 with a complete Allow, on every path (api.md)."""
    paths = {path_of(one): api.contract.allowed(path_of(one)) for one in api.contract.operations}
    with unchanged():
        answers = {
            (method, path): api.request(method, path)
            for path, allowed in paths.items()
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
            if method not in allowed
        }
    assert len(answers) > 60
    for (_, path), answer in answers.items():
        refused(answer, 405, "method_not_allowed")
        assert {part.strip() for part in answer.headers["allow"].split(",")} == paths[path]
        logs.expect(answer, "http.request", status=405)


@case("errors/011")
def test_no_refusal_repeats_what_was_sent(system: System, api: Api, logs: Logs) -> None:
    """Input is never echoed: neither a value nor a header of a refused request stands in the problem (api.md)."""
    marker = "zzmarkerzz"
    answers = [
        one(b'{"status": "%s", "%s": "%s"}' % ((marker.encode(),) * 3), JSON) for name, one in senders(system).items()
    ]
    answers += [
        api.admin("GET", "/v1/devices", params={"status": marker}),
        api.request("GET", "/v1/devices", headers={"X-Admin": marker}),
        api.bearer(marker, "POST", "/v1/heartbeat", json={}),
        api.request("GET", f"/{marker}"),
    ]
    for answer in answers:
        assert 400 <= answer.status < 500, answer.status
        assert marker.encode() not in answer.body, answer.body
        logs.expect(answer, "http.request", status=answer.status)
