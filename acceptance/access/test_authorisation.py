"""Who may do what: every operation with every credential, and one device with what is another's.

The table itself is in matrix.py. It does not vary how a header is written: each noun's own file does.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from acceptance.access.matrix import ACCEPTED, CREDENTIALS, NOT_JUDGED, REPLAYED, TABLE, Scene
from acceptance.access.requests import CALLS, own, send
from acceptance.suite.case import case
from acceptance.suite.environments import Stacks
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.metrics import Metrics
from acceptance.system.openapi import Contract
from acceptance.system.system import NewDevice, System, Unchanged
from harness.fcm.server import FcmControl
from harness.http.client import Answer
from harness.http.openapi import Operation
from harness.waiting import eventually

ENDING = ["HEAD", "GET", "POST", "DELETE"]  # what uses a token up or ends a device comes last


@pytest.fixture(scope="module")
def scene(stacks: Stacks) -> Scene:
    """What refused requests ask for; only refused ones, so that it stays good."""
    return Scene.of(stacks.shared())


@contextmanager
def naming(operation: str, credential: str) -> Iterator[None]:
    """A failure in the block names the cell of the table."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{operation} with {credential}: {error}") from error


def judge(answer: Answer, operation: str, cell: str, system: System) -> None:
    """The answer is what the cell of the table says, and so are the log lines."""
    logs = system.logs
    if cell == ACCEPTED:
        assert answer.status in (200, 201), f"expected to be let in, got {answer.status}: {answer.body[:300]!r}"
        assert not logs.of(answer, "sec.auth.fail")
        return
    status, code = cell.split()
    if CALLS[operation].method == "HEAD":
        assert answer.status == int(status), answer.status
    else:
        refused(answer, int(status), code)
    logs.expect(answer, "sec.auth.fail", code=code, level="WARNING")
    if operation == "registerDevice":
        logs.expect(answer, "register.fail", code=code)
    if code == "token_expired":
        line = logs.expect(answer, "sec.token.expired", level="WARNING")
        query = "select alias from enrollment_tokens where token_id = %s and expires_at < now()"
        assert system.db.value(query, line["token_id"]) == line["alias"]
    others = [line["event"] for line in logs.since() if line["request_id"] == answer.request_id]
    allowed = {"sec.auth.fail", "register.fail", "sec.token.expired", "http.request"}
    assert set(others) <= allowed, f"more than a refusal: {others}"
    assert others.count("sec.auth.fail") == 1, others


def failures(cells: list[str]) -> dict[str, float]:
    """By how much the counters of failed authentications grow over requests with these cells."""
    codes = Counter(cell.split()[1] for cell in cells if " " in cell)
    counted = {f'nexmdm_auth_failures_total{{code="{code}"}}': float(count) for code, count in codes.items()}
    return {"nexmdm_auth_failures_total": float(codes.total()), **counted}


@case("authorisation/001", "* 401", "* 403")
@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.usefixtures("logs")  # judge() reads it
def test_each_operation_with(
    credential: str, scene: Scene, system: System, metrics: Metrics, unchanged: Unchanged
) -> None:
    """A credential opens what the table says; all else is refused, logged, counted and changes nothing (000 A: 401)."""
    row = TABLE[credential]
    cells = {name: row[one.caller] for name, one in CALLS.items() if row[one.caller] != NOT_JUDGED}
    opened = [name for name, cell in cells.items() if cell == ACCEPTED and CALLS[name].caller != "open"]
    mine = Scene.of(system) if opened else scene
    proof = CREDENTIALS[credential](mine)
    with unchanged(), metrics.moves(failures(list(cells.values()))):
        answers = {name: send(system.api, name, proof, mine.about) for name in cells if name not in opened}
        for name, answer in answers.items():
            with naming(name, credential):
                judge(answer, name, cells[name], system)
    for name in sorted(opened, key=lambda name: ENDING.index(CALLS[name].method)):
        with naming(name, credential):
            judge(send(system.api, name, proof, mine.about), name, ACCEPTED, system)


@case("authorisation/002")
def test_the_table_is_complete() -> None:
    """Each operation of openapi.yaml is in the table, under the caller that its security names (api.md: callers)."""
    contract = Contract.load()
    assert {one.id: caller(one) for one in contract.operations} == {name: one.caller for name, one in CALLS.items()}
    assert CREDENTIALS.keys() | {"replayed"} == TABLE.keys()


def caller(operation: Operation) -> str:
    """The table's word for whom the contract lets in."""
    written = operation.definition
    if "X-Signature" in {parameter["name"] for parameter in operation.parameters}:
        return "signed"
    schemes = {name for one in written["security"] for name in one}
    if {} in written["security"] or not schemes:
        return "open"
    if len(schemes) > 1:
        return "download"
    return {"deviceToken": "device", "enrolmentToken": "enrolment", "adminKey": "admin"}[schemes.pop()]


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
