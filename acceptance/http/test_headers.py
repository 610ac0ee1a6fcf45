"""Headers as other programs write them: space and tab around a value are no part of it (RFC 9110 section 5.5)."""

import pytest

from acceptance.access.requests import CALLS, NOTHING, OF_THE_PROVIDER, OF_UPLOADS, TRACK_ID, Keys, admin, own
from acceptance.fleet.apks import new_package, upload
from acceptance.sandboxes.pool import Pool
from acceptance.suite.case import case
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.system import Enrolled, System, Tokens, Unchanged
from harness.devices.apk import apk
from harness.http.raw_http import Sockets, answers, request

PADS = {"a space before": " {}", "a space behind": "{} ", "a tab behind": "{}\t", "both, many": " \t {}\t \t "}


@case("headers/001")
@pytest.mark.parametrize("pad", PADS)
def test_white_space_around_a_header_s_value_changes_nothing(
    pad: str, system: System, sockets: Sockets, somebody: Enrolled, tokens: Tokens, logs: Logs
) -> None:
    """Every operation reads credentials, signature, media type and request id without it, at any speed (RFC 9110)."""
    [token] = tokens(uses_allowed=200)
    found: dict[str, int] = {}
    wanted: dict[str, int] = {}
    keys = Keys()
    if system.stack is not None:
        pool = Pool(system)
        keys = Keys(pool.track_key, pool.admin_key)
        pool.seed()
        pool.student(TRACK_ID).allocate()  # so that both times it has one
    for operation, call in CALLS.items():
        for given, padding in ((wanted, "{}"), (found, PADS[pad])):
            proof = own(system, operation, device=somebody.token, enrolment=token["token"], keys=keys)
            path, content, media_type = call.filled(NOTHING)
            name = f"{'clean' if given is wanted else 'padded'}-{operation}"
            headers = [*proof(content or b""), *media_type, ("X-Request-ID", name), ("Connection", "close")]
            padded = [(header, padding.format(value)) for header, value in headers]
            received = sockets.raw(request(f"{call.method} {path}", *padded, body=content or b""))
            given[operation] = int(received.split(maxsplit=2)[1])
            assert f"x-request-id: {name}\r\n".encode() in received
            assert logs.wait("http.request", request_id=name)["status"] == given[operation]
    assert found == wanted
    assert {name for name, status in wanted.items() if status == 503} <= OF_THE_PROVIDER
    assert {name for name, status in wanted.items() if status == 422} <= {"streamEvents"}
    assert {name for name, status in wanted.items() if status == 412} <= OF_UPLOADS
    assert set(wanted.values()) <= {200, 201, 204, 404, 412, 422, 503}, wanted


@case("headers/002")
def test_white_space_around_what_a_body_is_read_by_changes_nothing(
    system: System, sockets: Sockets, somebody: Enrolled, logs: Logs
) -> None:
    """Range, If-None-Match, Content-Length and two spaces behind Bearer are read well, on one connection (RFC 9110)."""
    content, package = apk(5000), new_package()
    accepted(upload(system.api, content, package_name=package), 201)
    path = f"GET /v1/apk/download-latest?package_name={package}"
    whole = answers(sockets.raw(request(path, *admin(system)(b""), ("Connection", "close"))))[0]
    beat = b'{"status": "ok"}'
    device = [("Authorization", f"Bearer  {somebody.token}\t"), ("Content-Type", "application/json ")]
    found = sockets.exchange(
        request(path, *admin(system)(b""), ("Range", "bytes=10-19 \t"))
        + request("POST /v1/heartbeat", *device, ("Content-Length", f" {len(beat)} "))
        + beat
        + request(path, *admin(system)(b""), ("If-None-Match", f"{whole.headers['etag']}\t "), ("Connection", "close"))
    )
    assert [answer.status for answer in found] == [206, 200, 304]
    assert found[0].body == content[10:20]
    assert accepted(found[1])["ok"] is True
    logs.wait("http.request", request_id=found[2].request_id, status=304)


@case("headers/003")
def test_a_trailer_is_no_header(
    system: System, sockets: Sockets, somebody: Enrolled, logs: Logs, unchanged: Unchanged
) -> None:
    """Credentials and request ids behind a chunked body, where no proxy looks, count for nothing (RFC 9110 6.5.1)."""
    for line, credential, status, code in (
        ("POST /v1/heartbeat", ("Authorization", f"Bearer {somebody.token}"), 401, "token_missing"),
        ("GET /v1/devices", admin(system)(b"")[0], 403, "admin_required"),
    ):
        head = request(
            line, ("Transfer-Encoding", "chunked"), ("Content-Type", "application/json"), ("Connection", "close")
        )
        trailer = f"{credential[0]}: {credential[1]}\r\nX-Request-ID: of-a-trailer\r\n\r\n"
        with unchanged():
            [answer] = sockets.exchange(head + b'10\r\n{"status": "ok"}\r\n0\r\n' + trailer.encode())
        refused(answer, status, code)
        assert answer.request_id != "of-a-trailer"
        logs.wait("sec.auth.fail", request_id=answer.request_id, code=code)
