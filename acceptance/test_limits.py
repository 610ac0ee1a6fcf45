"""Rate limits of whole groups of operations. Tokens have theirs in test_enroll_tokens.py, downloads in test_apk.py."""

from typing import Any

from acceptance.answers import accepted, refused
from acceptance.api import Api
from acceptance.case import case
from acceptance.logs import Logs
from acceptance.operations import CALLS, nobody, own, send
from acceptance.system import Enrolled, FreshBackend, System, Unchanged, new_alias
from harness.client import Answer
from harness.waiting import eventually

ANYBODY = {"getReadiness", "getOpenapiYaml", "getOpenapiJson", "getDocs"}


@case("limits/001", "* 429")
def test_every_admin_operation_has_a_limit(fresh_backend: FreshBackend) -> None:
    """Beyond the admin's limit every admin operation is a 429 with Retry-After and changes nothing (api.md)."""
    system: System = fresh_backend(env={"NEXMDM_LIMIT_ADMIN": "3/3600"})
    for _ in range(4):  # what is not an admin's uses nothing up
        refused(system.api.request("GET", "/v1/devices"), 403, "admin_required")
    for _ in range(3):
        accepted(system.api.admin("GET", "/v1/devices"))
    admin = sorted(name for name, one in CALLS.items() if one.caller in ("admin", "signed"))
    with system.unchanged():
        answers = {name: send(system.api, name, own(system, name)) for name in admin}
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


@case("limits/004", "createEnrollTokens 429")
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
    later = [issue() for _ in range(10)]
    passed = sum(answer.status == 200 for answer in later)
    assert passed <= 5, f"{10 + passed} in little more than a second"
    refused(later[-1], 429, "rate_limited")
    system.logs.expect(later[-1], "sec.token.ratelimit", rule="token_create")
