"""What can be seen without a right to it: process lists, logs, error texts, other origins, forged addresses.

Does not test who is let in: test_authorisation.py does.
"""

from pathlib import Path

import psutil
import pytest

from acceptance.access.requests import CALLS, NOTHING, admin, nobody, own, send
from acceptance.fleet.apks import new_package, upload
from acceptance.operations.test_maintenance import GOOD
from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.system import FreshBackend, Nexmdm, System, Unchanged, new_alias
from harness.oracles.secret_scan import Search
from harness.settings import SECRETS
from harness.waiting import eventually

PASSWORD = "hunter2hunter2"


@case("exposure/001")
def test_no_process_shows_a_secret_in_its_arguments(two_workers: System) -> None:
    """The arguments of the service's processes, which all users of a machine may read, hold no secret (security.md)."""
    root = psutil.Process(two_workers.running.backend.pid)
    processes = [root, *root.children(recursive=True)]
    assert len(processes) >= 4, "the parent, two web processes, the background"
    shown = "\n".join(" ".join([process.name(), *process.cmdline()]) for process in processes)
    assert "nexmdm" in shown
    assert not Search(SECRETS.known()).text(shown)


@case("exposure/002", slow="calls every operation twice on a system of its own")
def test_no_secret_is_logged_at_any_level(fresh_backend: FreshBackend) -> None:
    """At level debug too neither log nor stderr holds a token, key or signature, good or wrong (security.md)."""
    system: System = fresh_backend(env={"NEXMDM_LOG_LEVEL": "debug"})
    device, token = system.device(), system.token()["token"]
    accepted(device.heartbeat(fcm_token="fcm:a-token-that-is-a-secret-too"))
    accepted(device.complete(system.ping(device)))
    package = new_package()
    accepted(upload(system.api, package_name=package), 201)
    system.api.bearer(token, "GET", "/v1/apk/download-latest", params={"package_name": package})
    wrong = f"nxd_{'0' * 32}_{'w' * 43}{'x' * 11}"
    for name in CALLS:
        send(system.api, name, nobody)
        send(system.api, name, lambda _: [("Authorization", f"Bearer {wrong}"), ("X-Admin", PASSWORD)])
    system.api.command({"device_id": device.device_id, "action": "ping"}, signature="sha256=" + "5ec0" * 16)
    system.api.admin("GET", "/v1/devices", params={"cursor": PASSWORD})
    eventually(system.settled, 10.0)
    search = Search({*SECRETS.known(), PASSWORD, "5ec0" * 16, "fcm:a-token-that-is-a-secret-too"})
    log = system.logs.tap.path
    assert '"DEBUG"' in log.read_text(encoding="utf-8")
    for path in (log, Path(f"{log}.stderr")):
        assert not search.text(path.read_text(encoding="utf-8")), path.name


@case("exposure/003", slow="starts 45 commands")
@pytest.mark.parametrize("command", ["migrate", "retention run", "check-config", "routes", "grant nexmdm_app"])
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://admin:{}@127.0.0.1:1/nexmdm",
        "postgresql://admin:{}@nowhere.invalid/nexmdm",
        "postgresql://admin:{}@127.0.0.1:port/nexmdm",
        "postgresql://admin:{}/more@127.0.0.1/nexmdm",
        "postgresql://admin:[{}@127.0.0.1/nexmdm",
        "postgresql://admin:%{}@127.0.0.1:99999/nexmdm",
        "postgresql://127.0.0.1:1/nexmdm?password={}&sslmode=nonsense",
        "postgresql://{}",
        "{}://admin@127.0.0.1/nexmdm",
    ],
)
def test_no_command_shows_the_password(command: str, url: str, nexmdm: Nexmdm) -> None:
    """Whatever is wrong with the database's URL, its password is in no output and no traceback (security.md)."""
    code, said = nexmdm(command.split(), {**GOOD, "NEXMDM_DATABASE_URL": url.format(PASSWORD)})
    assert PASSWORD not in said, said
    assert "Traceback" not in said, said
    assert code in ((0, 1, 2) if command in ("check-config", "routes") else (1, 2)), said


@case("exposure/004")
@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_no_other_origin_reads_an_answer(
    origin: str, system: System, api: Api, logs: Logs, unchanged: Unchanged
) -> None:
    """A page of another origin gets no Access-Control header: not asking, not reading, on no path (security.md)."""
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, x-admin, content-type",
    }
    paths = sorted({one.path.format(**NOTHING) for one in CALLS.values()})
    with unchanged():
        asking = {path: api.request("OPTIONS", path, headers=asked) for path in [*paths, "/nowhere"]}
        reading = [
            api.request(one.method, one.path.format(**NOTHING), headers=[("Origin", origin), *admin(system)(b"")])
            for one in CALLS.values()
            if one.method in ("GET", "HEAD")
        ]
    described = {one.path for one in CALLS.values() if one.method == "OPTIONS"}  # also to who asks for something else
    for path, answer in asking.items():
        assert answer.status in ((204,) if path in described else (404, 405)), path
    for answer in [*asking.values(), *reading]:
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        logs.expect(answer, "http.request", status=answer.status)


@case("exposure/005", "renderEnrollSh 200")
@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Host": "evil.example"},
        {"X-Forwarded-Proto": "https", "X-Forwarded-Port": "9"},
        {"Forwarded": "for=6.6.6.6;host=evil.example;proto=https"},
        {"X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6", "True-Client-IP": "6.6.6.6"},
        {"X-Original-URL": "/v1/enroll-tokens", "X-Rewrite-URL": "/v1/enroll-tokens"},
        {"X-HTTP-Method-Override": "DELETE", "X-Method-Override": "DELETE"},
        {"X-Forwarded-Prefix": "/evil", "X-Script-Name": "/evil"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_headers_of_a_proxy_that_nobody_set_up_do_nothing(
    headers: dict[str, str], api: Api, logs: Logs, unchanged: Unchanged
) -> None:
    """Forwarded addresses, hosts and methods change no script, no logged address and no operation (security.md)."""
    alias = new_alias()
    with unchanged():
        plain = api.admin("GET", "/v1/scripts/enroll.sh", params={"alias": alias})
        forged = api.admin("GET", "/v1/scripts/enroll.sh", params={"alias": alias}, headers=headers)
        devices = api.admin("GET", "/v1/devices", headers=headers)
    assert forged.body == plain.body
    assert accepted(devices)["items"] is not None
    ip = logs.expect(plain, "http.request")["ip"]
    assert logs.expect(forged, "http.request", method="GET", status=200)["ip"] == ip


@case("exposure/006", "* 401", "* 403")
def test_refusals_say_the_same_whatever_was_nearly_right(system: System, api: Api, logs: Logs) -> None:
    """Status, headers and text of a refused credential do not tell what of it was right (security.md)."""
    device, retired = system.device(), system.device()
    accepted(api.admin("DELETE", f"/v1/devices/{retired.device_id}"))
    secret = device.token[-54:]
    tokens = {
        "no such device": f"nxd_{'0' * 32}_{secret}",
        "a wrong secret": device.token[:-54] + "A" * 54,
        "a retired device": retired.token,
        "another kind": system.token()["token"],
        "no token": "x",
    }
    keys = ["x", system.target.admin_key[:-1], system.target.admin_key + "x", system.target.admin_key.swapcase()]
    beats = [api.bearer(token, "POST", "/v1/heartbeat", json={"status": "ok"}) for token in tokens.values()]
    lists = [api.request("GET", "/v1/devices", headers={"X-Admin": key}) for key in [*keys, ""]]
    for answers, status, code in ((beats, 401, "token_invalid"), (lists, 403, "admin_required")):
        for answer in answers:
            refused(answer, status, code)
            logs.expect(answer, "sec.auth.fail", code=code)
        told = [
            (
                {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id")},
                {name: value for name, value in answer.json().items() if name != "request_id"},
            )
            for answer in answers
        ]
        assert all(one == told[0] for one in told), told


@case("exposure/007")
def test_an_unknown_path_tells_nothing_of_known_ones(system: System, api: Api, logs: Logs) -> None:
    """Paths of frameworks, source and configuration are 404 like any other, with the admin key too (security.md)."""
    paths = ["/.env", "/.git/config", "/debug", "/redoc", "/docs/oauth2-redirect", "/static/../.env", "/admin/", "/ws"]
    for path in paths:
        answer = api.request("GET", path, headers=own(system, "listDevices")(b""))
        refused(answer, 404, "not_found")
        logs.expect(answer, "http.request", status=404)
