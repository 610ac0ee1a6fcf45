"""GET /metrics, /healthz, /readyz, the contract and its page."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import psycopg

from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.metrics import Metrics
from acceptance.system.system import FreshBackend, System, Unchanged
from harness.http.openapi import OPENAPI, Document
from harness.waiting import eventually

FAMILIES = {
    "nexmdm_http_requests": "counter",
    "nexmdm_http_request_duration_seconds": "histogram",
    "nexmdm_registrations": "counter",
    "nexmdm_heartbeats": "counter",
    "nexmdm_dispatches": "counter",
    "nexmdm_fcm_send_duration_seconds": "histogram",
    "nexmdm_dispatch_write_duration_seconds": "histogram",
    "nexmdm_action_results": "counter",
    "nexmdm_apk_downloads": "counter",
    "nexmdm_enroll_tokens_issued": "counter",
    "nexmdm_rate_limited": "counter",
    "nexmdm_auth_failures": "counter",
    "nexmdm_device_bodies_refused": "counter",
    "nexmdm_connections_open": "gauge",
    "nexmdm_connections_refused": "counter",
    "nexmdm_db_pool_in_use": "gauge",
    "nexmdm_db_pool_size": "gauge",
    "nexmdm_dispatches_waiting": "gauge",
    "nexmdm_dispatch_oldest_wait_seconds": "gauge",
    "nexmdm_worker_restarts": "counter",
    "nexmdm_job_failures": "counter",
    "nexmdm_log_lines_lost": "counter",
    "nexmdm_build_info": "gauge",
}


@case("ops/001", "getMetrics 200")
def test_metrics_are_prometheus_text(api: Api, logs: Logs, metrics: Metrics) -> None:
    """An admin gets every metric as Prometheus text: http totals, dispatch latency, downloads and more (000 A)."""
    answer = api.admin("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    declared = dict(re.findall(r"^# TYPE (\S+) (\S+)$", answer.body.decode(), flags=re.MULTILINE))
    declared = {name.removesuffix("_total"): kind for name, kind in declared.items()}
    assert FAMILIES.items() <= declared.items(), f"missing: {dict(FAMILIES.items() - declared.items())}"
    logs.expect(answer, "metrics.scrape")
    version = accepted(api.request("GET", "/healthz"))["version"]
    assert metrics.total(f'nexmdm_build_info{{version="{version}"}}') == 1
    assert metrics.total("nexmdm_build_info") == 1, "one version runs"


@case("ops/002", "getMetrics 200")
def test_requests_are_counted_by_template_and_status(api: Api, logs: Logs, metrics: Metrics) -> None:
    """http totals and latency are labelled by path template, method and status, never by the path itself (api.md)."""
    route = "/v1/devices/{device_id}"
    with metrics.moves(
        {
            f'nexmdm_http_requests_total{{route="{route}",method="GET",status="404"}}': 2,
            f'nexmdm_http_request_duration_seconds_count{{route="{route}",method="GET"}}': 2,
            'nexmdm_http_requests_total{route="unmatched",method="GET",status="404"}': 1,
        }
    ):
        answer, _ = (api.admin("GET", "/v1/devices/01890000-0000-7000-8000-000000000000") for _ in range(2))
        unknown = api.request("GET", "/no/such/path")
    refused(unknown, 404, "not_found")
    logs.expect(answer, "http.request", status=404, method="GET")
    page = api.admin("GET", "/metrics").body
    assert b"01890000" not in page
    assert b"/no/such/path" not in page


@case("ops/003", "getHealth 200", "getReadiness 200")
def test_health_needs_no_credential_and_pings_the_database(api: Api, logs: Logs, unchanged: Unchanged) -> None:
    """/healthz is 200 without credentials and has asked the database; /readyz has seen migrations at head (000 A)."""
    with unchanged():
        answer = api.request("GET", "/healthz")
        ready = api.request("GET", "/readyz")
    health = accepted(answer)
    assert (health["status"], health["database"]) == ("ok", "ok")
    assert health["version"]
    assert accepted(ready) == {"status": "ready", "database": "ok", "migrations": "head"}
    logs.expect(answer, "http.request", status=200)
    logs.expect(ready, "http.request", status=200)


@case("ops/004", "getHealth 200", "getHealth 403")
def test_health_can_be_gated_and_can_leave_the_database_alone(fresh_backend: FreshBackend) -> None:
    """By setting /healthz asks for the admin key and does not touch the database (000 A: configurable)."""
    system: System = fresh_backend(env={"NEXMDM_HEALTHZ_ADMIN": "true", "NEXMDM_HEALTHZ_DATABASE": "false"})
    with system.unchanged(), system.metrics.moves({'nexmdm_auth_failures_total{code="admin_required"}': 1}):
        answer = system.api.request("GET", "/healthz")
    refused(answer, 403, "admin_required")
    system.logs.expect(answer, "sec.auth.fail", code="admin_required")
    assert accepted(system.api.admin("GET", "/healthz"))["database"] == "not_checked"


@case("ops/005", "getOpenapiYaml 200", "getOpenapiJson 200")
def test_the_contract_is_served_as_written(api: Api, logs: Logs) -> None:
    """/openapi.yaml is the hand-written file, /openapi.json the same document as JSON (api.md)."""
    as_yaml, as_json = api.request("GET", "/openapi.yaml"), api.request("GET", "/openapi.json")
    assert (as_yaml.status, as_json.status) == (200, 200)
    assert as_yaml.body == OPENAPI.read_bytes()
    assert json.loads(as_json.body) == Document.read().content
    logs.expect(as_yaml, "http.request", status=200)


@case("ops/006", "getDocs 200")
def test_the_docs_page_works_offline(api: Api, logs: Logs) -> None:
    """/docs is one page that names every operation and loads nothing from anywhere (api.md: works offline)."""
    answer = api.request("GET", "/docs")
    page = answer.body.decode("utf-8")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    for operation in api.contract.operations:
        assert f'id="{operation.id}"' in page, operation.id
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//|@import|url\(\s*["']?(?:https?:)?//""", page)
    logs.expect(answer, "http.request", status=200)


@case("ops/008", "getMetrics 200")
def test_the_pool_gauge_shows_what_is_held(two_workers: System) -> None:
    """nexmdm_db_pool_in_use is the number of connections that requests hold at this moment (api.md: pool in use)."""
    system, gauge = two_workers, "nexmdm_db_pool_in_use"

    def in_use(expected: int) -> bool:
        found = system.metrics.total(gauge)
        assert found == expected, f"{found} connections in use, expected {expected}"
        return True

    eventually(lambda: in_use(0), within_s=3.0)
    with ThreadPoolExecutor(3) as pool, psycopg.connect(system.target.database_url or "") as owner:
        owner.execute("lock table apk_versions in access exclusive mode")
        answers = [pool.submit(system.api.admin, "GET", "/v1/apk/builds") for _ in range(3)]
        eventually(lambda: in_use(3), within_s=3.0)
        owner.rollback()
        for answer in answers:
            accepted(answer.result())
    eventually(lambda: in_use(0), within_s=3.0)
    system.logs.expect(answers[0].result(), "http.request", status=200)
