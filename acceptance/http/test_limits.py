"""Rate limits of whole groups of operations. Tokens have theirs in test_enroll_tokens.py, downloads in test_apk.py."""

from typing import Any

from acceptance.access.requests import CALLS, Keys, nobody, own, send
from acceptance.sandboxes.pool import Pool
from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.system import Enrolled, FreshBackend, System, Unchanged, new_alias
from harness.http.client import Answer
from harness.waiting import eventually

ANYBODY = {"getReadiness", "getPlatformHealth", "describeUploads", "getOpenapiYaml", "getOpenapiJson", "getDocs"}


@case("limits/001", "* 429")
def test_every_admin_operation_has_a_limit(fresh_backend: FreshBackend) -> None:
    """Beyond the admin's limit every admin operation is a 429 with Retry-After and changes nothing (api.md)."""
    system: System = fresh_backend(env={"NEXMDM_LIMIT_ADMIN": "3/3600"})
    for _ in range(4):  # what is not an admin's uses nothing up
        refused(system.api.request("GET", "/v1/devices"), 403, "admin_required")
    for _ in range(3):
        accepted(system.api.admin("GET", "/v1/devices"))
    pool = Pool(system)
    for _ in range(3):
        accepted(pool.admin("GET", "/v1/admin/stats"))
    keys = Keys(admin=pool.admin_key)
    admin = sorted(name for name, one in CALLS.items() if one.caller in ("admin", "signed", "pool"))
    with system.unchanged():
        answers = {name: send(system.api, name, own(system, name, keys=keys)) for name in admin}
    for answer in answers.values():
        refused(answer, 429, "rate_limited")
        system.logs.expect(answer, "sec.token.ratelimit", rule="admin")
        system.logs.expect(answer, "http.request", status=429)


@case("limits/002", "* 429")
def test_a_source_that_keeps_failing_is_limited(fresh_backend: FreshBackend) -> None:
    """Beyond an address's limit of failed authentications each further one is a 429; good ones pass (api.md)."""
    system: System = fresh_backend(env={"NEXMDM_LIMIT_AUTH_FAIL": "2/3600", "NEXMDM_HEALTHZ_ADMIN": "true"})
    device = system.device()
    for _ in range(2):
        refused(system.api.request("GET", "/healthz"), 403, "admin_required")
    with system.unchanged():
        for name in sorted(CALLS.keys() - ANYBODY):
            answer = send(system.api, name, nobody)
            assert answer.status == 429, f"{name}: {answer.status}"
            assert int(answer.headers["retry-after"]) >= 1
            system.logs.expect(answer, "sec.token.ratelimit", rule="auth_fail")
    accepted(device.heartbeat())
    assert system.metrics.total('nexmdm_rate_limited_total{rule="auth_fail"}') == len(CALLS.keys() - ANYBODY)


@case("limits/003", "recordHeartbeat 413")
def test_a_body_without_a_length_is_limited(api: Api, somebody: Enrolled, logs: Logs, unchanged: Unchanged) -> None:
    """A JSON body that announces no length is held to 64 KiB like every other (api.md: 413)."""

    def send(filler: int) -> Answer:
        headers = [("Authorization", f"Bearer {somebody.token}"), ("Content-Type", "application/json")]
        pieces: Any = iter([b'{"status": "ok"', b" " * filler, b"}"])  # httpx sends an iterator in chunks
        return api.take(
            "POST", "/v1/heartbeat", api.transport.send("POST", "/v1/heartbeat", headers=headers, content=pieces)
        )

    with unchanged():
        answer = send(65536 - 15)
    refused(answer, 413, "payload_too_large")
    logs.expect(answer, "http.request", status=413)
    accepted(send(65536 - 16))


@case("limits/004", "createEnrollTokens 429", slow="waits for windows to turn")
def test_the_turn_of_a_window_gives_nothing_away(fresh_backend: FreshBackend) -> None:
    """At most so many hits pass in any window, also in one that begins in the middle (backend/README.md)."""
    system: System = fresh_backend(env={"NEXMDM_LIMIT_TOKEN_CREATE": "10/5"})

    def issue() -> Answer:
        return system.api.admin("POST", "/v1/enroll-tokens", json={"aliases": [new_alias()]})

    def wait_for(begin: float, end: float) -> None:
        within = f"select extract(epoch from now()) % 5 between {begin} and {end}"
        eventually(lambda: system.db.value(within), within_s=6.0)

    wait_for(3.0, 3.5)
    for _ in range(10):
        accepted(issue())
    wait_for(0.0, 0.7)
    answers = [issue() for _ in range(10)]
    beyond = [answer for answer in answers if answer.status != 200]
    assert len(beyond) >= 5, f"{20 - len(beyond)} in little more than a second"
    for answer in beyond:  # one more passes every half second, so which they are is not known
        refused(answer, 429, "rate_limited")
        system.logs.expect(answer, "sec.token.ratelimit", rule="token_create")


@case("limits/005", "recordHeartbeat 429", "recordHeartbeat 401", slow="restarts its backend, waits")
def test_a_limited_source_costs_no_statement_and_raises_one_alert(fresh_backend: FreshBackend) -> None:
    """A source past its failures is refused without a statement and alerted of once; good tokens pass (issue 5)."""
    system: System = fresh_backend(env={"NEXMDM_LIMIT_AUTH_FAIL": "5/3600"})
    device, cold = system.device(), system.device()
    token = system.token()["token"]
    system.running.backend.restart()  # of the devices only one is known again
    system.api.reconnect()
    accepted(device.heartbeat())
    wrong = device.token[:-54] + "A" * 54

    def attempt() -> Answer:
        return system.api.bearer(wrong, "POST", "/v1/heartbeat", json={"status": "ok"})

    for _ in range(5):
        refused(attempt(), 401, "token_invalid")
    refused(attempt(), 429, "rate_limited")
    # A statement that refuses the hit locks its row, which shows in xmax.
    row = "select xmin::text, xmax::text, hits from rate_limits where rule = 'auth_fail'"
    before = system.db.row(row)
    answers = [attempt() for _ in range(50)]
    for answer in answers:
        refused(answer, 429, "rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 1800
    assert system.db.row(row) == before, "a statement for each attempt"
    system.logs.expect(answers[-1], "sec.auth.fail", code="token_invalid")
    system.logs.expect(answers[-1], "sec.token.ratelimit", rule="auth_fail")
    alerts = [line for line in system.logs.since() if line["event"] == "sec.auth.alert"]
    assert [(line["level"], line["rule"], line["source"]) for line in alerts] == [("ERROR", "auth_fail", "127.0.0.1")]
    accepted(device.heartbeat())
    accepted(cold.heartbeat())
    accepted(system.api.bearer(token, "POST", "/v1/register", json={"agent_version": "1.4.2"}))
