"""Services that are switched off (`NEXMDM_SERVICES`): their routes refuse, their jobs rest, all else goes on."""

import psycopg
import pytest

from acceptance.access.requests import CALLS, Keys, nobody, own, send
from acceptance.suite.case import case
from acceptance.system.match import refused
from acceptance.system.system import FreshBackend, System
from harness.waiting import eventually

OF_OPERATIONS = {"getMetrics", "getHealth", "getReadiness", "getOpenapiYaml", "getOpenapiJson", "getDocs"}
MADE_UP = "a-token-that-nobody-has-issued"
OF_THE_FLEET = sorted(CALLS.keys() - OF_OPERATIONS)


@pytest.fixture
def without_fleet(fresh_backend: FreshBackend) -> System:
    return fresh_backend(env={"NEXMDM_SERVICES": "operations", "NEXMDM_RETENTION_EVERY_S": "1"})


@case("services/001", "* 503")
def test_the_routes_of_a_service_that_is_off_refuse(without_fleet: System) -> None:
    """Each route of a service that is switched off is 503 `service_unavailable`, whoever asks, and changes nothing."""
    system = without_fleet
    with system.unchanged():
        for operation in OF_THE_FLEET:
            if CALLS[operation].method == "HEAD":
                assert send(system.api, operation, nobody).status == 503, operation
                continue
            refused(send(system.api, operation, nobody), 503, "service_unavailable")
            proof = own(system, operation, device=MADE_UP, enrolment=MADE_UP, keys=Keys(MADE_UP, MADE_UP))
            refused(send(system.api, operation, proof), 503, "service_unavailable")


def dispatchers(system: System) -> int:
    """Sessions that wait for work to send."""
    with psycopg.connect(system.running.postgres.admin_url, autocommit=True) as admin:
        query = "select count(*) from pg_stat_activity where datname = %s and query ilike 'listen%%'"
        row = admin.execute(query, [system.running.database]).fetchone()
    assert row is not None
    return int(row[0])


@case("services/002", "getHealth 200", "getReadiness 200", "getMetrics 200", slow="starts a second system")
def test_the_rest_goes_on_while_a_service_is_off(without_fleet: System, fresh_backend: FreshBackend) -> None:
    """Probes, metrics, the contract and retention go on; no job of the service runs, and its tables are left alone."""
    system = without_fleet
    for operation in sorted(OF_OPERATIONS):
        assert send(system.api, operation, own(system, operation)).status == 200, operation

    def cleaned() -> set[str]:
        lines = system.logs.tap.since(0)
        return {line["entity"] for line in lines if line["event"] == "db_operation" and line["operation"] == "cleanup"}

    eventually(cleaned, within_s=10.0)
    assert cleaned() == {"rate_limits"}
    assert dispatchers(system) == 0
    whole = fresh_backend()
    eventually(lambda: dispatchers(whole) == 1, within_s=10.0)  # what the line above would have seen
