"""What holds for every operation: framework answers, body rules. Who is let in is in test_authorisation.py."""

from collections.abc import Callable

import pytest

from acceptance.access.matrix import TABLE
from acceptance.access.requests import CALLS, NOTHING, UNKNOWN
from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.system import System, Unchanged
from harness.http.client import Answer

JSON = {"Content-Type": "application/json"}
Sender = Callable[[bytes, dict[str, str]], Answer]


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


@case("errors/002", "* 401", "* 403")
def test_credentials_are_judged_before_the_rest(api: Api, logs: Logs, unchanged: Unchanged) -> None:
    """Without credentials a request is told that they are missing, whatever else of it is broken (api.md)."""
    broken = dict.fromkeys(NOTHING, "~~")
    cells = {name: TABLE["no credential"][one.caller] for name, one in CALLS.items() if one.caller != "open"}
    with unchanged():
        answers = {
            name: api.request(one.method, one.path.format(**broken), content=b"{" if one.body else None)
            for name, one in CALLS.items()
            if name in cells
        }
        unsigned = api.admin("POST", "/admin/command", content=b"{", headers=JSON)
    for name, answer in answers.items():
        status, code = cells[name].split()
        assert answer.status == int(status), f"{name}: {answer.status}"
        logs.expect(answer, "sec.auth.fail", code=code)
    refused(unsigned, 403, "signature_missing")
    logs.expect(unsigned, "sec.auth.fail", code="signature_missing")


@case("errors/003", "* 400")
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


@case("errors/005", "* 415")
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


@case("errors/006", "* 413")
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
    # Both ways to a heartbeat: what declares its charset is not plain enough for the fast one.
    for headers in (JSON, {"Content-Type": "application/json; charset=utf-8"}):
        accepted(send["recordHeartbeat"](full, headers))


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
    paths = {path: api.contract.allowed(path) for path in (one.path.format(**NOTHING) for one in CALLS.values())}
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
def test_no_refusal_repeats_what_was_sent(system: System, api: Api, logs: Logs, unchanged: Unchanged) -> None:
    """Input is never echoed: neither a value nor a header of a refused request stands in the problem (api.md)."""
    marker = "zzmarkerzz"
    raw, send = b'{"status": "%s", "%s": "%s"}' % ((marker.encode(),) * 3), senders(system)
    with unchanged():
        answers = [
            *(one(raw, JSON) for one in send.values()),
            api.admin("GET", "/v1/devices", params={"status": marker}),
            api.request("GET", "/v1/devices", headers={"X-Admin": marker}),
            api.bearer(marker, "POST", "/v1/heartbeat", json={}),
            api.command({"device_id": UNKNOWN, "action": marker}),
            api.request("GET", f"/{marker}"),
        ]
    for answer in answers:
        assert 400 <= answer.status < 500, answer.status
        assert marker.encode() not in answer.body, answer.body
        logs.expect(answer, "http.request", status=answer.status)
