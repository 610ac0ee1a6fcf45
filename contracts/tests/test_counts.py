"""The gate over the fuzzer's counts: zero successes, a 500, an untested operation, a thin or broken run turn it red."""

import base64
import json
from typing import Any

import pytest

from contracts.__main__ import default_examples
from contracts.coverage import matrix
from contracts.fuzz.acceptance_rate import checks, luck_of, read_limits, valid_rates
from contracts.fuzz.tally import Tally
from harness.http.openapi import Document
from harness.verdict.thresholds import Judgement, Status

DOCUMENT = Document.read()
GOOD_ANSWER = {"jsonrpc": "2.0", "id": 1, "result": True}
LIMITS = {"default": {"min_valid": 3, "min_share": 0.5}, "operations": {}}


def scenario(
    path: str,
    method: str,
    status: int | None,
    *,
    mode: str = "positive",
    phase: str = "fuzzing",
    count: int = 10,
    body: Any = None,
    **extra: Any,
) -> str:
    content = {"$base64": base64.b64encode(json.dumps(body).encode()).decode()}
    cases: dict[str, Any] = {}
    interactions: dict[str, Any] = {}
    for number in range(count):
        value = {"method": method, "path": path, "meta": {"generation": {"mode": mode}}}
        cases[str(number)] = {"value": value, "is_transition_applied": False, **extra}
        interactions[str(number)] = {"response": {"status_code": status, "content": content} if status else None}
    recorder = {"label": f"{method} {path}", "cases": cases, "interactions": interactions, "checks": {}}
    return json.dumps({"ScenarioFinished": {"phase": phase, "elapsed_time": 0.5, "recorder": recorder}})


def good_run() -> Tally:
    tally = Tally.of(DOCUMENT)
    for operation in DOCUMENT.operations():
        for phase in ("examples", "coverage", "fuzzing", "stateful"):
            tally.read([scenario(operation.path, operation.method.upper(), 200, phase=phase, body=GOOD_ANSWER)])
    tally.read([json.dumps({"EngineFinished": {"stop_reason": "completed"}})])
    return tally


def test_the_default_is_shared_by_the_operations_and_has_a_floor() -> None:
    assert [default_examples(operations) for operations in (18, 36, 54, 500)] == [150, 75, 50, 30]


def test_what_takes_longest_comes_first() -> None:
    tally = Tally.of(DOCUMENT)
    tally.read([scenario("/v1/heartbeat", "POST", 200)] * 2 + [scenario("/v1/devices", "GET", 200)])
    assert tally.slowest(1) == [("POST /v1/heartbeat", 1.0)]


def statuses(judged: list[Judgement]) -> dict[str, Status]:
    return {each.limit.name.partition(":")[0]: each.status for each in judged}


def failed(tally: Tally, examples: int = 10) -> dict[str, Status]:
    return {
        check.id: check.status
        for check in checks(tally, ["recordHeartbeat"], examples)
        if check.status is not Status.PASS
    }


def test_good_run_passes() -> None:
    tally = good_run()
    assert set(statuses(valid_rates(tally, LIMITS)).values()) == {Status.PASS}
    assert failed(tally) == {}


@pytest.mark.parametrize("status", [401, 403, 404, 409, 422, 429])
def test_valid_requests_that_never_succeed(status: int) -> None:
    tally = Tally.of(DOCUMENT)
    tally.read([scenario("/v1/heartbeat", "POST", status)])
    assert statuses(valid_rates(tally, LIMITS))["recordHeartbeat"] is Status.FAIL


@pytest.mark.parametrize(
    "accepted, sent, status",
    [
        (2, 7, Status.INCONCLUSIVE),  # seen: three examples on a database in use
        (0, 3, Status.INCONCLUSIVE),
        (4, 7, Status.PASS),
        (0, 10, Status.FAIL),
        (30, 100, Status.FAIL),
        (45, 100, Status.INCONCLUSIVE),
        (450, 2000, Status.FAIL),
    ],
)
def test_a_low_share_fails_only_where_chance_does_not_explain_it(accepted: int, sent: int, status: Status) -> None:
    tally = Tally.of(DOCUMENT)
    tally.read([scenario("/v1/heartbeat", "POST", 200, count=accepted)] * bool(accepted))
    tally.read([scenario("/v1/heartbeat", "POST", 409, count=sent - accepted)])
    judged = next(one for one in valid_rates(tally, LIMITS) if one.limit.name.startswith("recordHeartbeat"))
    assert judged.status is status
    assert ("too few cases" in judged.note) == (status is Status.INCONCLUSIVE)


def test_the_chance_of_so_few_is_that_of_a_binomial_distribution() -> None:
    assert luck_of(0, 10, 0.5) == pytest.approx(1 / 1024)
    assert luck_of(2, 7, 0.5) == pytest.approx(29 / 128)
    assert luck_of(2, 3, 0.4) == pytest.approx(1 - 0.4**3)


def test_no_valid_request_is_no_pass() -> None:
    tally = Tally.of(DOCUMENT)
    tally.read([scenario("/v1/heartbeat", "POST", 200, mode="negative")])
    assert statuses(valid_rates(tally, LIMITS))["recordHeartbeat"] is Status.INCONCLUSIVE


def test_too_few_valid_requests_are_no_pass() -> None:
    tally = Tally.of(DOCUMENT)
    tally.read([scenario("/v1/heartbeat", "POST", 200, count=2)])
    assert statuses(valid_rates(tally, LIMITS))["recordHeartbeat"] is Status.INCONCLUSIVE


def test_probe_of_a_check_is_not_a_valid_request() -> None:
    tally = good_run()
    before = tally.valid["recordHeartbeat"].total()
    tally.read([scenario("/v1/heartbeat", "POST", 401, parent_id="x")])
    assert tally.valid["recordHeartbeat"].total() == before


def test_server_error() -> None:
    tally = good_run()
    tally.read([scenario("/v1/heartbeat", "POST", 500, mode="negative", count=1)])
    assert failed(tally) == {"fuzz/5xx": Status.FAIL}


def test_server_error_for_an_undocumented_method() -> None:
    tally = good_run()
    tally.read([scenario("/v1/heartbeat", "PATCH", 500, mode="negative", count=1)])
    assert failed(tally) == {"fuzz/5xx": Status.FAIL}


def rpc_error(code: int, data_code: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": "No.", "data": {"code": data_code}}}


def test_a_call_that_has_never_a_result_is_not_valid_although_it_is_200() -> None:
    tally = Tally.of(DOCUMENT)
    tally.read([scenario("/api/nfs/read", "POST", 200, body=rpc_error(-32000, "not_found"))])
    tally.read([scenario("/api/nfs/write", "POST", 204)])
    judged = statuses(valid_rates(tally, LIMITS))
    assert (judged["readFile"], judged["writeFile"]) == (Status.FAIL, Status.FAIL)
    assert (tally.answers["readFile"], tally.answers["writeFile"]) == ({"not_found": 10}, {"204": 10})


def test_a_batch_is_valid_where_all_of_it_has_results() -> None:
    tally = Tally.of(DOCUMENT)
    tally.read([scenario("/api/nfs", "POST", 200, body=[GOOD_ANSWER, rpc_error(-32001, "exists")], count=4)])
    assert (tally.accepted("callBatch"), tally.answers["callBatch"]) == (0, {"result": 4, "exists": 4})
    tally.read([scenario("/api/nfs", "POST", 200, body=[GOOD_ANSWER, GOOD_ANSWER])])
    assert tally.accepted("callBatch") == 10


@pytest.mark.parametrize("body", [rpc_error(-32603, "internal_error"), "no answer of JSON-RPC"])
def test_a_call_that_fails_is_a_server_error(body: object) -> None:
    tally = good_run()
    tally.read([scenario("/api/nfs/read", "POST", 200, mode="negative", count=1, body=body)])
    assert failed(tally) == {"fuzz/5xx": Status.FAIL}


def test_unanswered_request() -> None:
    tally = good_run()
    tally.read([scenario("/v1/heartbeat", "POST", None, count=1)])
    assert failed(tally) == {"fuzz/answered": Status.FAIL}


def test_untested_operation() -> None:
    tally = good_run()
    tally.answers["getMetrics"].clear()
    assert failed(tally) == {"fuzz/operations": Status.FAIL}


def test_fewer_examples_than_asked_for() -> None:
    tally = good_run()
    tally.fuzzed["recordHeartbeat"] = 9
    assert failed(tally) == {"fuzz/examples": Status.INCONCLUSIVE}


def test_fewer_scenarios_than_asked_for() -> None:
    tally = good_run()
    tally.scenarios = 9
    assert failed(tally) == {"fuzz/scenarios": Status.INCONCLUSIVE}


def test_missing_phase() -> None:
    tally = good_run()
    del tally.phases["stateful"]
    assert failed(tally) == {"fuzz/complete": Status.INCONCLUSIVE}


def test_run_that_stopped_early() -> None:
    tally = good_run()
    tally.unfinished = 1
    assert failed(tally) == {"fuzz/complete": Status.INCONCLUSIVE}


def test_limits_name_real_operations() -> None:
    assert valid_rates(Tally.of(DOCUMENT), read_limits())
    with pytest.raises(ValueError, match="teleport"):
        valid_rates(Tally.of(DOCUMENT), {**LIMITS, "operations": {"teleport": {}}})


def test_share_must_be_above_zero() -> None:
    limits = read_limits()
    shares = [each["min_share"] for each in (limits["default"], *limits["operations"].values()) if "min_share" in each]
    assert min(shares) > 0


def test_matrix_adds_up_and_names_what_nobody_saw() -> None:
    tally = Tally.of(DOCUMENT)
    tally.read(
        [scenario("/v1/heartbeat", "POST", 200), scenario("/v1/heartbeat", "POST", 422, mode="negative", count=3)]
    )
    row = matrix(DOCUMENT, tally)["operations"]["recordHeartbeat"]
    assert row["answers"] == {"200": 10, "422": 3}
    assert row["valid"] == {"sent": 10, "accepted": 10}
    assert row["unseen"] == ["400", "401", "413", "415", "429", "503"]
