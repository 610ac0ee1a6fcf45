"""What browsers are told: the security headers of every answer, and which pages of other origins may call (CORS)."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from acceptance.sandboxes.pool import Pool
from acceptance.suite.case import case
from acceptance.suite.environments import Stacks
from acceptance.system.match import accepted, refused
from acceptance.system.system import System
from harness.http.client import Answer, Client, HttpxTransport
from harness.http.raw_http import Sockets

SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
LABS, EVIL = "https://labs.example.com", "https://evil.example"
HSTS = "max-age=31536000"
ALLOCATE = "/v1/allocate"
# The broker's, one of each path, and what a page may send there.
PATHS = (ALLOCATE, "/v1/allocations/current", "/v1/sandboxes/1/extend", "/v1/admin/sandboxes", "/v1/admin/sync")
REQUEST_HEADERS = {
    "authorization",
    "content-type",
    "x-track-id",
    "x-instruqt-sandbox-id",
    "x-instruqt-track-id",
    "idempotency-key",
    "prefer",
}
EXPOSED = {"x-request-id", "x-ratelimit-limit", "x-ratelimit-remaining", "retry-after", "idempotent-replay"}


@pytest.fixture(scope="module")
def open_to_labs(stacks: Stacks) -> System:
    """A system of which pages of one origin may call the broker, and which sends HSTS."""
    return stacks.fresh(env={"NEXMDM_CORS_ORIGINS": f"https://other.example, {LABS}", "NEXMDM_HSTS_S": "31536000"})


@pytest.fixture
def page(open_to_labs: System) -> Iterator[Client]:
    """A client whose answers may have what those of other systems never have."""
    with closing(HttpxTransport(open_to_labs.target.base_url)) as transport:
        yield Client(transport, open_to_labs.target.admin_key)


def preflight(client: Client, path: str, origin: str = LABS, method: str = "POST", headers: str = "") -> Answer:
    """What a browser asks before it sends such a request."""
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    return client.request("OPTIONS", path, headers=asked | {"Access-Control-Request-Headers": headers or "x-track-id"})


def words(answer: Answer, name: str) -> set[str]:
    """The members of a header that is a list, in lower case."""
    return {word.strip().lower() for word in answer.headers.get(name, "").split(",")} - {""}


def of_cors(answer: Answer) -> list[str]:
    return [name for name in answer.headers if name.startswith("access-control-allow")]


@case("sandbox-headers/001", "getDocs 200")
def test_every_answer_has_the_security_headers(system: System, pool: Pool) -> None:
    """Each answer forbids sniffing, frames, referrers and scripts; /docs alone may style itself (003: security)."""
    somebody = pool.student()
    pool.seed()
    api = system.api
    answers = [
        somebody.allocate(),
        somebody.allocate(),
        pool.student().allocate(),
        api.request("POST", ALLOCATE),
        api.request("GET", "/nowhere"),
        api.request("PUT", ALLOCATE),
        api.request("GET", "/healthz"),
        system.somebody.heartbeat(),
        preflight(api, ALLOCATE),
    ]
    assert [answer.status for answer in answers] == [201, 200, 409, 401, 404, 405, 200, 200, 405]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY, answer.status
        assert "strict-transport-security" not in answer.headers
    styled = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    docs = api.request("GET", "/docs")
    assert {name: docs.headers.get(name) for name in SECURITY} == SECURITY | {"content-security-policy": styled}


@case("sandbox-headers/002")
def test_hsts_by_setting(open_to_labs: System, page: Client) -> None:
    """NEXMDM_HSTS_S sends Strict-Transport-Security with every answer, fast, refused and preflight (003: security)."""
    system, wanted = open_to_labs, SECURITY | {"strict-transport-security": HSTS}
    sockets = Sockets(system.target.base_url)
    answers = [
        page.request("POST", ALLOCATE),
        page.request("GET", "/readyz"),
        page.request("GET", "/healthz"),
        system.somebody.heartbeat(),
        page.request("POST", "/v1/heartbeat", json={"status": "ok"}),
        preflight(page, ALLOCATE),
        preflight(page, ALLOCATE, EVIL),
        sockets.ask(b"no HTTP\r\n\r\n"),
    ]
    assert [answer.status for answer in answers] == [401, 200, 200, 200, 401, 200, 400, 400]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in wanted} == wanted, answer.status


@case("sandbox-headers/003")
def test_a_preflight_needs_no_key(open_to_labs: System, page: Client) -> None:
    """A page of a listed origin may GET and POST the broker's paths with its headers, and nothing else (003: CORS)."""
    system = open_to_labs
    with system.unchanged():
        for path in PATHS:
            for method in ("GET", "POST"):
                answer = preflight(page, path, method=method, headers=", ".join(sorted(REQUEST_HEADERS)))
                assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, LABS), path
                assert words(answer, "access-control-allow-methods") == {"get", "post"}
                safelisted = {"accept", "accept-language", "content-language"}
                assert words(answer, "access-control-allow-headers") - safelisted == REQUEST_HEADERS
                assert answer.headers["access-control-max-age"] == "3600"
                assert "origin" in words(answer, "vary")
                template = system.api.contract.route(path)
                system.logs.wait("http.request", request_id=answer.request_id, method="OPTIONS", route=template)
        for refusal in (
            preflight(page, ALLOCATE, EVIL),
            preflight(page, ALLOCATE, "null"),
            preflight(page, ALLOCATE, f"{LABS}.evil.example"),
            preflight(page, ALLOCATE, method="DELETE"),
            preflight(page, ALLOCATE, headers="x-admin"),
        ):
            assert refusal.status == 400
        for foreign in (EVIL, "null", f"{LABS}.evil.example"):
            assert "access-control-allow-origin" not in preflight(page, ALLOCATE, foreign).headers
        for path, status in (("/v1/devices", 405), ("/v1/heartbeat", 405), ("/healthz", 405), ("/nowhere", 404)):
            answer = preflight(page, path)
            assert answer.status == status, path
            assert not of_cors(answer), path


@case("sandbox-headers/004")
def test_a_page_reads_the_answers_that_it_may(open_to_labs: System, page: Client) -> None:
    """Answers, refusals too, open themselves to a listed origin, and to no other, on no other path (003: CORS)."""
    pool = Pool(open_to_labs)
    pool.clear()
    pool.seed()

    def ask(origin: str, key: str, method: str = "POST", path: str = ALLOCATE) -> Answer:
        headers = {"Origin": origin, "X-Track-ID": f"track-{origin}"}
        return page.bearer(key, method, path, headers=headers)

    given, none = ask(LABS, pool.track_key), ask("https://other.example", pool.track_key)
    unknown = ask(LABS, "nobody-s-key")
    accepted(given, 201)
    refused(none, 409, "no_sandboxes_available")
    refused(unknown, 401, "token_invalid")
    for answer, origin in ((given, LABS), (none, "https://other.example"), (unknown, LABS)):
        assert answer.headers["access-control-allow-origin"] == origin
        assert words(answer, "access-control-expose-headers") == EXPOSED
        assert "origin" in words(answer, "vary")
    for foreign in (EVIL, "null", LABS.upper()):
        assert not of_cors(ask(foreign, pool.track_key)), foreign
    assert "origin" in words(page.bearer(pool.track_key, "POST", ALLOCATE), "vary"), "a cache keeps them apart"
    assert not of_cors(page.admin("GET", "/v1/devices", headers={"Origin": LABS}))
