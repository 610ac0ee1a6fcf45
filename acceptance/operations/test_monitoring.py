"""The alert rules and the dashboard of backend/ops, against what a live service shows; and the gauges made for them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from acceptance.fleet.apks import new_package, upload
from acceptance.suite.case import case
from acceptance.system.match import accepted
from acceptance.system.promql import faults, named_labels
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import background_process, kill, only, web_processes
from harness.http.prometheus import total
from harness.oracles.log_schemas import documents
from harness.verdict.artifacts import ROOT
from harness.waiting import eventually

LEVELS = ("INFO", "WARNING", "ERROR")
OPS = ROOT / "backend" / "ops"


def rules(file: Path) -> list[dict[str, Any]]:
    """Every alert of a file of rules."""
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> Iterator[tuple[str, dict[str, str]]]:
    """Title and query of every line that the dashboard draws."""
    document = json.loads((OPS / "dashboard.json").read_text(encoding="utf-8"))
    for panel in document["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target


@pytest.fixture(scope="module")
def worked(two_workers: System) -> System:
    """A system that has done one thing of each kind: what it shows then is all that there is to show."""
    system, package = two_workers, new_package()
    device = system.device()
    accepted(device.heartbeat())
    accepted(device.complete(system.ping(device)))
    accepted(upload(system.api, package_name=package), 201)
    assert system.api.admin("GET", "/v1/apk/download-latest", params={"package_name": package}).status == 200
    assert system.api.request("GET", "/v1/devices").status == 403
    eventually(system.settled, within_s=10.0)
    return system


@case("monitoring/001", "getMetrics 200")
def test_every_alert_can_fire(worked: System) -> None:
    """Each alert rule parses, and every metric, label and value that it names is on the live page (operations.md)."""
    samples = worked.metrics.read()
    found = {rule["alert"]: faults(rule["expr"], samples) for rule in rules(OPS / "alerts.yaml")}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    assert len(found) >= 10
    for rule in rules(OPS / "alerts.yaml"):
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        assert named_labels(rule["annotations"]["summary"]) <= grouped_by(rule["expr"]), rule["alert"]


@case("monitoring/002", "getMetrics 200")
def test_every_panel_of_the_dashboard_has_data(worked: System) -> None:
    """Each query of the dashboard parses and names metrics and labels that the live page has (operations.md)."""
    samples = worked.metrics.read()
    found = {f"{title} {target['refId']}": faults(target["expr"], samples) for title, target in panels()}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    drawn = " ".join(target["expr"] for _, target in panels())
    ours = {
        re.sub(r"_(total|bucket|count|sum|created)$", "", name) for name, _ in samples if name.startswith("nexmdm_")
    }
    assert {name for name in ours if name not in drawn} == set(), "a metric that nobody looks at"


@case("monitoring/003")
def test_every_alert_on_the_log_names_an_event(worked: System) -> None:
    """Each alert rule on the log names an event, a level and fields that lines have by their schema (operations.md)."""
    everywhere = set(schema_of("common")["$defs"]["line"]["properties"])
    for rule in rules(OPS / "log-alerts.yaml"):
        expression, name = rule["expr"], rule["alert"]
        [event] = re.findall(r'event="([^"]+)"', expression)
        own = schema_of(event)["properties"]
        named = {*re.findall(r"\| (\w+)=", expression), *grouped_by(expression)}
        assert named <= everywhere | own.keys(), name
        assert named_labels(rule["annotations"]["summary"]) <= named, name
        level = own.get("level", {})
        levels = {*level.get("enum", LEVELS), level.get("const")}
        assert set(re.findall(r'level="(\w+)"', expression)) <= levels, name
    lines = worked.logs.tap.path.read_text(encoding="utf-8")
    assert lines.startswith("{"), "one JSON object a line, as the rules expect"


def grouped_by(expression: str) -> set[str]:
    """The labels in every `by (...)` of an expression."""
    return {label for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.findall(r"\w+", group)}


def schema_of(event: str) -> dict[str, Any]:
    assert event in documents(), f"no event {event}"
    return documents()[event]


@case("monitoring/004", "getMetrics 200", slow="waits for retries with two workers")
def test_what_waits_for_fcm_shows_in_the_metrics(fresh_backend: FreshBackend) -> None:
    """nexmdm_dispatches_waiting and the age of the oldest follow the outbox, with two workers too (operations.md)."""
    system: System = fresh_backend(workers=2, env={"NEXMDM_DISPATCH_BACKOFF_CAP_S": "0.5"})
    device = system.device()

    def waiting(count: int, least_s: float) -> bool:
        samples = system.metrics
        found, oldest_s = (
            samples.total("nexmdm_dispatches_waiting"),
            samples.total("nexmdm_dispatch_oldest_wait_seconds"),
        )
        assert found == count, f"{found} dispatches wait, expected {count}"
        assert oldest_s >= least_s, f"the oldest waits for {oldest_s} s, expected {least_s}"
        return True

    system.fcm.script([{"status": 503, "error_code": "UNAVAILABLE", "times": 0}], token=device.fcm_token)
    for _ in range(3):
        system.ping(device)
    eventually(lambda: waiting(3, 1.5), within_s=10.0)
    system.fcm.script([], token=device.fcm_token)
    eventually(lambda: waiting(0, 0.0), within_s=10.0)
    assert system.metrics.total("nexmdm_dispatch_oldest_wait_seconds") == 0


@case("monitoring/005", "getMetrics 200", slow="kills processes")
def test_processes_that_are_replaced_are_counted(fresh_backend: FreshBackend) -> None:
    """nexmdm_worker_restarts counts each process that ended by itself, by its role (operations.md)."""
    system: System = fresh_backend(workers=2)
    restarts = "nexmdm_worker_restarts_total"
    assert system.metrics.total(restarts) == 0
    for victim, role in ((web_processes(system)[0], "web"), (background_process(system), "background")):
        with system.metrics.moves({f'{restarts}{{role="{role}"}}': 1}, within_s=8.0):
            kill(system, victim)
            system.api.reconnect()
            system.logs.wait("service.stop", pid=victim, role=role, level="ERROR")
    assert system.metrics.total(restarts) == 2
    eventually(lambda: system.metrics.total("nexmdm_db_pool_size") == 30, within_s=8.0, what="three pools of 10")


@case("monitoring/006", "getMetrics 200", slow="kills processes")
def test_a_scrape_while_a_process_starts_is_answered(fresh_backend: FreshBackend) -> None:
    """Scrapes of one worker are whole and only grow while the others die and are replaced (000 A: metrics)."""
    system: System = fresh_backend(workers=3)
    answering, *victims = web_processes(system)
    for pid in (*victims, answering):  # each has counted more than a scrape adds; the last connection stays
        with only(system, pid):
            for _ in range(20):
                assert system.metrics.total("nexmdm_build_info") == 1
    counted = [0.0]
    whole = []
    for victim in victims:
        kill(system, victim)
        system.logs.wait("service.stop", pid=victim)

    def all_back() -> bool:
        page = system.metrics.read()
        whole.append(total(page, "nexmdm_build_info") == 1)
        counted.append(total(page, "nexmdm_http_requests_total"))
        return len(web_processes(system)) == 3

    eventually(all_back, within_s=10.0, what="three web processes")
    assert all_back(), "and while they settle"
    assert all(whole)
    assert counted == sorted(counted), "counters outlive their process"
