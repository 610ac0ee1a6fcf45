"""JSON-RPC 2.0: the examples of its specification with methods of ours, ids, batches, parameters, aliases."""

import json
from typing import Any

import pytest

from acceptance.platform.zones import Platform, denied
from acceptance.suite.case import case
from acceptance.system.match import accepted
from acceptance.system.system import System
from harness.http.client import Answer
from harness.platform import rpc
from harness.platform.rpc import RpcError, notification, request
from harness.platform.zone import RPC, Zone

METHODS = (
    "write", "read", "delete", "rename", "list", "exists", "mkdir", "rmdir",
    "register_agent", "update_agent", "get_agent", "delete_agent", "list_agents", "agent_list_by_zone",
    "agent_transition", "agent_heartbeat",
    "add_mount", "get_mount", "has_mount", "list_mounts", "remove_mount", "save_mount", "list_saved_mounts",
    "load_mount", "delete_saved_mount", "list_connectors", "rebac_list_tuples",
)  # fmt: skip
PATHS = (RPC, *(f"{RPC}/{method}" for method in METHODS))
JSON = [("Content-Type", "application/json")]


def sent(zone: Zone, body: str | bytes, path: str = RPC) -> Answer:
    """A request with exactly this body."""
    return zone.request("POST", path, content=body.encode() if isinstance(body, str) else body, headers=JSON)


def error_of(response: Any) -> tuple[Any, int, str]:
    """Id, number and code of an error in a response object."""
    with pytest.raises(RpcError) as caught:
        rpc.result_of(response, response["id"])
    return response["id"], caught.value.code, caught.value.kind


# As in section 7 of the specification, with `exists` for `subtract`.
INVALID = {
    "of a method that is not there": (
        '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
        ("1", -32601, "method_not_found"),
    ),
    "with invalid JSON": (
        '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]',
        (None, -32700, "parse_error"),
    ),
    "with an invalid request object": (
        '{"jsonrpc": "2.0", "method": 1, "params": "bar"}',
        (None, -32600, "invalid_request"),
    ),
    "batch, invalid JSON": (
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"',
        (None, -32700, "parse_error"),
    ),
    "with an empty array": ("[]", (None, -32600, "invalid_request")),
}


@case("rpc/001", "callBatch method_not_found", "callBatch parse_error", "callBatch invalid_request")
@pytest.mark.parametrize("example", INVALID)
def test_an_invalid_call(example: str, zone: Zone, platform: Platform) -> None:
    """Each invalid call of the specification's examples has its error, under its id or null (JSON-RPC 2.0: 7)."""
    body, error = INVALID[example]
    with platform.unchanged():
        assert error_of(accepted(sent(zone, body))) == error


@case("rpc/002", "callBatch result")
def test_calls_with_positional_and_named_parameters(zone: Zone) -> None:
    """Parameters go by position or by name, in any order (JSON-RPC 2.0: 7, rpc call with ... parameters)."""
    zone.write("/here", "text")
    for number, (params, there) in enumerate([(["/here"], True), (["/there"], False), ({"path": "/here"}, True)], 1):
        assert rpc.answered(zone.batch(request("exists", params, number)), number) is there
    by_position = rpc.answered(zone.batch(request("write", ["/here", "more"], 3)), 3)
    swapped = {"content": "more", "path": "/here"}
    assert rpc.answered(zone.batch(request("write", swapped, 4)), 4)["etag"] == by_position["etag"]
    assert rpc.answered(zone.batch(request("list", None, 5)), 5)["entries"][0]["path"] == "/here"


@case("rpc/003", "callBatch 204", "makeDirectory 204")
def test_a_notification_is_done_and_not_answered(zone: Zone, platform: Platform) -> None:
    """A notification is carried out and not answered, also one that fails or names no method (JSON-RPC 2.0: 7)."""
    answer = zone.batch(notification("mkdir", ["/made"]))
    assert (answer.status, answer.body) == (204, b"")
    at_its_url = zone.request("POST", f"{RPC}/mkdir", json=notification("mkdir", ["/made/too"]))
    assert (at_its_url.status, at_its_url.body) == (204, b"")
    assert zone.paths() == ["/made", "/made/too"]
    with platform.unchanged():
        for call in (notification("foobar"), notification("mkdir", ["/made"]), notification("mkdir", [1, 2, 3])):
            assert zone.batch(call).status == 204
        both = zone.batch([notification("exists", ["/"]), notification("exists", ["/made"])])
        assert (both.status, both.body) == (204, b"")


@case("rpc/004", "* result", "* invalid_request", "* method_not_found", "* invalid_params")
def test_a_batch(zone: Zone, platform: Platform) -> None:
    """A batch is answered call by call, notifications left out, what is no request with -32600 (JSON-RPC 2.0: 7)."""
    for count in (1, 3):
        with platform.unchanged():
            responses = accepted(sent(zone, json.dumps(list(range(1, count + 1)))))
        assert [error_of(one) for one in responses] == [(None, -32600, "invalid_request")] * count
    calls = [
        request("mkdir", ["/a"], "1"),
        notification("mkdir", ["/b"]),
        request("exists", ["/b"], "2"),
        {"foo": "boo"},
        request("foo.get", {"name": "myself"}, "5"),
        request("exists", None, "9"),
    ]
    first, second, *others = accepted(zone.batch(calls))
    assert rpc.result_of(first, "1") == {"created": True}
    assert rpc.result_of(second, "2") is True
    assert [error_of(one) for one in others] == [
        (None, -32600, "invalid_request"),
        ("5", -32601, "method_not_found"),
        ("9", -32602, "invalid_params"),
    ]


@case("rpc/005", "callBatch result", "callBatch invalid_request")
def test_the_calls_of_a_batch_stand_alone(platform: Platform) -> None:
    """The calls of a batch are done in order, each in its own transaction: a refused one undoes no other (issue 16)."""
    zone = platform.zone(limits={"max_files": 97})
    calls = [request("write", [f"/{number:02}", "text"], number) for number in range(99)]
    responses = accepted(zone.batch([*calls, request("exists", ["/96"], 99)]))
    assert [one["id"] for one in responses] == list(range(100))
    assert [error_of(one) for one in responses[97:99]] == [(n, -32010, "quota_exceeded") for n in (97, 98)]
    assert rpc.result_of(responses[99], 99) is True
    assert [event["path"] for event in zone.log()[1:]] == [f"/{number:02}" for number in range(97)]
    with platform.unchanged():
        too_many = accepted(zone.batch([request("write", ["/00", "x"], number) for number in range(101)]))
        assert error_of(too_many) == (None, -32600, "invalid_request")


@case("rpc/006", "callBatch result")
def test_a_batch_of_a_mebibyte(zone: Zone) -> None:
    """A batch of 1 MiB is done (issue 16: bad input)."""
    responses = accepted(zone.batch([request("write", [f"/{n}", "x" * 16_000], n) for n in range(66)]))
    assert [rpc.result_of(one, number)["size"] for number, one in enumerate(responses)] == [16_000] * 66


GOOD_IDS = ["", "1", "ß\U0001f600", "a" * 256, 0, -1, 1.5, 2**53, -(2**53), None]
BAD_IDS = ["true", "false", "[]", "[1]", "{}", str(2**53 + 1), str(-(2**53) - 1), "1e300", "9" * 25, f'"{"a" * 257}"']


@case("rpc/007", "pathExists result", "* invalid_request")
def test_ids_of_any_type(zone: Zone, platform: Platform) -> None:
    """A string, a number or null is an id and comes back as it is; anything else is refused under null (issue 16)."""
    for good in GOOD_IDS:
        answer = zone.request("POST", f"{RPC}/exists", json=request("exists", ["/"], good))
        assert rpc.answered(answer, good) is True, good
    with platform.unchanged():
        for bad in BAD_IDS:
            body = '{"jsonrpc": "2.0", "method": "mkdir", "params": ["/a"], "id": %s}' % bad  # noqa: UP031
            for path in (RPC, f"{RPC}/mkdir"):
                assert error_of(accepted(sent(zone, body, path))) == (None, -32600, "invalid_request"), bad


@case("rpc/008", "writeFile invalid_request", "readFile result")
def test_the_method_of_the_url_wins(zone: Zone, platform: Platform) -> None:
    """The URL names the method, also by an alias; another one in the body, or none that there is, is an error (api)."""
    with platform.apart(zone) as old:
        assert old.rpc("write_file", path="/a", content="text")["size"] == 4
        assert rpc.unwrapped(old.rpc("read_file", path="/a")) == b"text"
        with platform.unchanged():
            denied(old, -32601, "method_not_found", "truncate", path="/a")
    by_alias = zone.request("POST", f"{RPC}/read", json=request("read_file", {"path": "/a"}))
    assert rpc.unwrapped(rpc.answered(by_alias)) == b"text"
    with platform.unchanged():
        other = zone.request("POST", f"{RPC}/write", json=request("delete", {"path": "/a"}))
        assert error_of(accepted(other)) == (1, -32600, "invalid_request")
    by_alias = zone.batch(request("delete_file", {"path": "/a"}))
    assert rpc.answered(by_alias) == {"deleted": True}


NO_REQUEST = {
    "no version": {"method": "exists", "params": ["/"], "id": 1},
    "another version": {"jsonrpc": "1.0", "method": "exists", "params": ["/"], "id": 1},
    "version as a number": {"jsonrpc": 2.0, "method": "exists", "params": ["/"], "id": 1},
    "params that are text": {"jsonrpc": "2.0", "method": "exists", "params": "/", "id": 1},
    "params that are null": {"jsonrpc": "2.0", "method": "exists", "params": None, "id": 1},
    "a member that nobody knows": {"jsonrpc": "2.0", "method": "exists", "params": ["/"], "id": 1, "auth": "x"},
    "method that is null": {"jsonrpc": "2.0", "method": None, "params": ["/"], "id": 1},
    "no object": "exists",
}


@case("rpc/009", "* invalid_request")
@pytest.mark.parametrize("name", NO_REQUEST)
def test_what_is_no_request(name: str, zone: Zone, platform: Platform) -> None:
    """What is JSON and no request object is refused, at the method's URL and in a batch (JSON-RPC 2.0: 4)."""
    body = json.dumps(NO_REQUEST[name])
    with platform.unchanged():
        for response in (*(accepted(sent(zone, body, path)) for path in PATHS), *accepted(sent(zone, f"[{body}]"))):
            assert error_of(response)[1:] == (-32600, "invalid_request")


@case("rpc/010", "* parse_error")
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"NaN", b"\xff\xfe{}", b'{"id": "\xff"}', b"[" * 100_000, '{"id": 1}'.encode("utf-16"), b"{} {}"),
        b'{"jsonrpc": "2.0", "method": "exists", "params": ["/\\ud800"], "id": 1}',
    ],
    ids=["empty", "cut", "NaN", "UTF-16 mark", "no UTF-8", "deep", "UTF-16", "two", "a lone surrogate"],
)
def test_what_is_no_json(body: bytes, zone: Zone, platform: Platform) -> None:
    """What is no JSON is -32700 under null, whatever it is instead (JSON-RPC 2.0: 5.1)."""
    with platform.unchanged():
        for path in PATHS:
            assert error_of(accepted(sent(zone, body, path))) == (None, -32700, "parse_error")


# Parameters that are wrong, and what of them the error points to.
WRONG: dict[str, tuple[str, Any, set[str]]] = {
    "one is missing": ("write", {"path": "/a"}, {"/params/content"}),
    "all are missing": ("write", {}, {"/params/path", "/params/content"}),
    "one is unknown": ("write", {"path": "/a", "content": "", "mode": 7}, {"/params"}),
    "too many": ("exists", ["/a", "/b"], set()),
    "too few": ("write", ["/a"], {"/params/content"}),
    "a number for a path": ("write", {"path": 7, "content": ""}, {"/params/path"}),
    "a path of null": ("read", {"path": None}, {"/params/path"}),
    "text for a number": ("read", {"path": "/a", "offset": "0"}, {"/params/offset"}),
    "a number below zero": ("read", {"path": "/a", "offset": -1, "length": -1}, {"/params/offset", "/params/length"}),
    "a limit of 1,001": ("list", {"limit": 1001}, {"/params/limit"}),
    "a limit of 0": ("list", {"limit": 0}, {"/params/limit"}),
    "text for a boolean": ("mkdir", {"path": "/a", "parents": "yes"}, {"/params/parents"}),
    "two wrong of a tree": ("rmdir", {"path": 1, "recursive": 1}, {"/params/path", "/params/recursive"}),
    "a number for a new path": ("rename", {"old_path": "/a", "new_path": 1}, {"/params/new_path"}),
    "nothing to delete": ("delete", {}, {"/params/path"}),
}


@case("rpc/011", "* invalid_params")
def test_wrong_parameters(zone: Zone, platform: Platform) -> None:
    """Missing, unknown and mistyped parameters are -32602, each pointed out, whatever the method (issue 16)."""
    with platform.unchanged():
        for name, (method, params, wrong) in WRONG.items():
            with pytest.raises(RpcError) as caught:
                rpc.answered(zone.request("POST", f"{RPC}/{method}", json=request(method, params)))
            error = caught.value
            assert (error.code, error.kind) == (-32602, "invalid_params"), name
            assert {one["pointer"] for one in error.data["errors"]} == wrong, name
        for method in METHODS:
            denied(zone, -32602, "invalid_params", method, nobody_knows_it=1)


@case("rpc/012", "writeFile result")
def test_a_call_is_logged_and_counted(system: System, zone: Zone) -> None:
    """Each call has a line and a count with its method and outcome, also each of a batch (issue 16: log, metrics)."""
    counted = {
        'nexmdm_platform_rpc_calls_total{method="write",outcome="result"}': 3,
        'nexmdm_platform_rpc_seconds_count{method="write"}': 3,
        'nexmdm_platform_rpc_calls_total{method="read",outcome="not_found"}': 1,
        'nexmdm_platform_rpc_calls_total{method="delete",outcome="path_invalid"}': 1,
    }
    with system.metrics.moves(counted):
        written = zone.call("write", path="/a", content="text")
        missed = zone.call("read", path="/b")
        calls = [request("write", ["/c", "c"], 1), request("delete", ["a"], 2), notification("write", ["/d", "d"])]
        batch = zone.batch(calls)
    for answer, outcomes in (
        (written, [("write", "result")]),
        (missed, [("read", "not_found")]),
        (batch, [("write", "result"), ("delete", "path_invalid"), ("write", "result")]),
    ):
        lines = system.logs.of(answer, "platform.rpc")
        assert [(line["method"], line["outcome"]) for line in lines] == outcomes
        assert {line["zone_id"] for line in lines} == {zone.zone_id}
        assert all(0 < line["latency_ms"] < 10_000 for line in lines)
    unknown = zone.batch(request("x" * 60))
    [line] = system.logs.of(unknown, "platform.rpc")
    assert (line["method"], line["outcome"]) == ("unknown", "method_not_found")
    assert "x" * 60 not in system.api.scrape(), "a caller makes no new time series"
