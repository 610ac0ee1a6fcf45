"""Who may do what: every operation with every credential, and one device with what is another's.

The table itself is in matrix.py. It does not vary how a header is written: each noun's own file does.
"""

from typing import Any

import pytest

from acceptance.access.judging import failures, judge, judge_row
from acceptance.access.matrix import CREDENTIALS, KEYS, NOT_JUDGED, REPLAYED, TABLE, Scene
from acceptance.access.requests import CALLS, OF_A_STACK, own, send
from acceptance.suite.case import case
from acceptance.suite.environments import Stacks, given_target
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.metrics import Metrics
from acceptance.system.openapi import Contract
from acceptance.system.system import NewDevice, System, Unchanged
from harness.fcm.server import FcmControl
from harness.http.openapi import Operation
from harness.waiting import eventually


@pytest.fixture(scope="module")
def scene(stacks: Stacks) -> Scene:
    """What refused requests ask for; only refused ones, so that it stays good."""
    return Scene.of(stacks.shared())


@case("authorisation/001", "* 401", "* 403")
@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.usefixtures("logs", "unchanged")  # judge_row() reads them
def test_each_operation_with(credential: str, scene: Scene) -> None:
    """A credential opens what the table says; all else is refused, logged, counted and changes nothing (000 A: 401)."""
    judge_row(credential, CREDENTIALS[credential], scene)


@case("authorisation/002")
def test_the_table_is_complete() -> None:
    """Each operation of openapi.yaml is in the table, under the caller that its security names (api.md: callers)."""
    contract = Contract.load()
    callers = {one.id: caller(one) for one in contract.operations}
    if given_target():
        callers = {name: one for name, one in callers.items() if one not in OF_A_STACK}
    assert callers == {name: one.caller for name, one in CALLS.items()}
    assert CREDENTIALS.keys() | KEYS.keys() | {"replayed"} == TABLE.keys()


def caller(operation: Operation) -> str:
    """The table's word for whom the contract lets in."""
    written = operation.definition
    if "X-Signature" in {parameter["name"] for parameter in operation.parameters}:
        return "signed"
    schemes = {name for one in written["security"] for name in one}
    if {} in written["security"] or not schemes:
        return "open"
    if schemes == {"adminKey", "apiKey"}:
        return "admin"
    if len(schemes) > 1:
        return "download"
    alone = {"deviceToken": "device", "enrolmentToken": "enrolment", "trackKey": "track", "apiKey": "pool"}
    return (alone | {"zoneKey": "zone"})[schemes.pop()]


@case("authorisation/003", "completeAction 200", "sendCommand 200", "registerDevice 401")
@pytest.mark.parametrize(
    "operation", [name for name, one in CALLS.items() if TABLE["replayed"][one.caller] != NOT_JUDGED]
)
def test_a_request_sent_again(
    operation: str, system: System, logs: Logs, fcm: FcmControl, metrics: Metrics, unchanged: Unchanged
) -> None:
    """The same bytes again are told that they are a repeat, or that their token is used up, and do nothing (api.md)."""
    mine = Scene.of(system)
    proof = own(system, operation, device=mine.device.token, enrolment=mine.token)
    accepted(send(system.api, operation, proof, mine.about))
    if operation == "recordHeartbeat":  # its bucket may end between the two; and last_seen moves
        eventually(lambda: accepted(send(system.api, operation, proof, mine.about))["deduplicated"], within_s=1.0)
        return
    cell = TABLE["replayed"][CALLS[operation].caller]
    done = ("registrations_total", 'dispatches_total{status="queued"}', 'dispatches_total{status="completed"}')
    nothing = {f"nexmdm_{name}": 0.0 for name in done}
    with unchanged(), metrics.moves({**failures([cell]), **nothing}):
        again = send(system.api, operation, proof, mine.about)
    if cell != REPLAYED:
        judge(again, operation, cell, system)
        return
    assert accepted(again).get("replayed") is True or again.headers["idempotent-replay"] == "true"
    assert not logs.of(again, "dispatch.request") + logs.of(again, "action_result.ingest")
    sent = 1 + (operation == "sendCommand")  # the scene's own message, and the first of the two
    assert len(fcm.inbox(mine.device.fcm_token)) == sent


@case("authorisation/004", "completeAction 404")
def test_a_device_completes_only_its_own(
    system: System, device: NewDevice, logs: Logs, db: Database, unchanged: Unchanged
) -> None:
    """A result for another device's dispatch is a 404 and leaves it open to the device that it is for (000 A: 404)."""
    owner, other = device(), device()
    request_id = system.ping(owner)
    logs.wait("dispatch.sent", dispatch_request_id=request_id)
    with unchanged():
        answer = other.complete(request_id, "error", message="not mine")
        refused(answer, 404, "dispatch_not_found")
    assert request_id.encode() not in answer.body
    assert not logs.of(answer, "action_result.ingest")
    assert accepted(owner.complete(request_id))["replayed"] is False
    with unchanged():
        refused(other.complete(request_id), 404, "dispatch_not_found")
    assert db.value("select outcome from fcm_dispatches where request_id = %s", request_id) == "ok"


@case("authorisation/005")
def test_a_device_changes_nothing_of_another(system: System, device: NewDevice, logs: Logs, db: Database) -> None:
    """What a device sends, names and re-enrols is its own: another's rows stay and its token stays good (api.md)."""
    owner, other = device(), device()
    accepted(owner.heartbeat(status="warn"))

    def rows() -> list[dict[str, Any]]:
        tables = ("devices", "device_status", "device_heartbeats")
        return [db.row(f"select * from {table} where device_id = %s", owner.device_id) for table in tables]

    before = rows()
    answer = other.heartbeat(status="error", fcm_token="fcm:of-the-other-device")
    accepted(answer)
    logs.expect(answer, "heartbeat.ingest", device_id=other.device_id)
    body = {"status": "error", "device_id": owner.device_id}
    refused(system.api.bearer(other.token, "POST", "/v1/heartbeat", json=body), 422, "validation_error")
    device(other.alias)
    assert rows() == before
    assert accepted(owner.heartbeat())["ok"] is True
