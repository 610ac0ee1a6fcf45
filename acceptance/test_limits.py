"""Rate limits of whole groups of operations. Tokens have theirs in test_enroll_tokens.py, downloads in test_apk.py."""

from acceptance.answers import accepted, refused
from acceptance.case import case
from acceptance.operations import CALLS, nobody, own, send
from acceptance.system import FreshBackend, System

ANYBODY = {"getReadiness", "getOpenapiYaml", "getOpenapiJson", "getDocs"}


@case("limits/001")
def test_every_admin_operation_has_a_limit(fresh_backend: FreshBackend) -> None:
    """Beyond the admin's limit every admin operation is a 429 with Retry-After and changes nothing (api.md)."""
    system: System = fresh_backend(env={"NEXMDM_LIMIT_ADMIN": "3/3600"})
    for _ in range(3):
        accepted(system.api.admin("GET", "/v1/devices"))
    admin = sorted(name for name, one in CALLS.items() if one.caller in ("admin", "signed"))
    with system.unchanged():
        answers = {name: send(system.api, name, own(system, name)) for name in admin}
    for answer in answers.values():
        refused(answer, 429, "rate_limited")
        system.logs.expect(answer, "sec.token.ratelimit", rule="admin")
        system.logs.expect(answer, "http.request", status=429)


@case("limits/002")
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
