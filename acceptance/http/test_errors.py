"""What holds for every operation: unknown paths, wrong methods, refusals that echo nothing. Bodies are in raw/."""

import pytest

from acceptance.access.matrix import TABLE
from acceptance.access.requests import CALLS, NOTHING, UNKNOWN, own
from acceptance.http.raw.payloads import OPERATIONS
from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.logs import Logs
from acceptance.system.match import refused
from acceptance.system.system import System, Unchanged

JSON = {"Content-Type": "application/json"}


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
        "/docs/x",
        "/healthz/",
        "/%00",
        "/%ff",
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
    # The log knows a method of HTTP by its name; TRACE is one of all others.
    traced = api.transport.send("TRACE", "/metrics")
    api.contract.judge("TRACE", "/metrics", traced.status, traced.headers, traced.body)
    refused(traced, 405, "method_not_allowed")
    logs.wait("http.request", request_id=traced.request_id, method="OTHER", status=405)


@case("errors/011")
def test_no_refusal_repeats_what_was_sent(system: System, api: Api, logs: Logs, unchanged: Unchanged) -> None:
    """Input is never echoed: neither a value nor a header of a refused request stands in the problem (api.md)."""
    marker = "zzmarkerzz"
    body = b'{"status": "%s", "%s": "%s"}' % ((marker.encode(),) * 3)
    tokens = {"device": system.somebody.token, "enrolment": system.token()["token"]}
    proofs = {name: own(system, name, **tokens) for name in OPERATIONS}
    with unchanged():
        answers = [
            *(
                api.request("POST", CALLS[name].path, content=body, headers=[*proof(body), *JSON.items()])
                for name, proof in proofs.items()
            ),
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
