import json
from typing import Any

import pytest

from harness.http.client import Answer
from harness.platform import rpc

ERROR = {"code": -32000, "message": "No.", "data": {"code": "not_found"}}


def response(**members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, **members}


def test_a_result_is_returned() -> None:
    assert rpc.result_of(response(result=None), 1) is None


def test_an_error_is_raised_with_its_number_and_its_code() -> None:
    with pytest.raises(rpc.RpcError) as caught:
        rpc.result_of(response(error=ERROR), 1)
    assert (caught.value.code, caught.value.kind) == (-32000, "not_found")


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        response(),
        response(result=1, error=ERROR),
        response(result=1, more=1),
        response(result=1) | {"jsonrpc": "1.0"},
        response(result=1) | {"id": 2},
        response(result=1) | {"id": "1"},
        response(result=1) | {"id": True},
        {"jsonrpc": "2.0", "result": 1},
        response(error={"code": "-32000", "message": "", "data": {}}),
        response(error={"code": -32000, "message": ""}),
        response(error=None),
    ],
    ids=str,
)
def test_what_is_no_response_to_the_request_is_told(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"no response|the response is to|neither|no error object"):
        rpc.result_of(wrong, 1)


def test_an_answer_of_another_status_is_no_response() -> None:
    body = json.dumps(response(result=1)).encode()
    assert rpc.answered(Answer(200, {}, body, 0.0, None)) == 1
    with pytest.raises(ValueError, match="expected 200, got 503"):
        rpc.answered(Answer(503, {}, body, 0.0, None))


def test_bytes_travel_in_their_envelope() -> None:
    assert rpc.unwrapped(rpc.wrapped(b"\x00\xff")) == b"\x00\xff"


@pytest.mark.parametrize("wrong", [None, "AA==", {}, {"data": "AA=="}, {"__type__": "text", "data": "AA=="}], ids=str)
def test_what_is_no_envelope_is_told(wrong: Any) -> None:
    with pytest.raises(ValueError, match="no envelope"):
        rpc.unwrapped(wrong)


@pytest.mark.parametrize("data", ["A", "AA", "AA==\n", 7])
def test_what_is_no_base64_is_told(data: Any) -> None:
    with pytest.raises(ValueError, match="no base64"):
        rpc.unwrapped({"__type__": "bytes", "data": data})


def test_a_notification_has_no_id() -> None:
    assert rpc.notification("m", [1]) == {"jsonrpc": "2.0", "method": "m", "params": [1]}
    assert rpc.request("m") == {"jsonrpc": "2.0", "method": "m", "id": 1}
