"""Batches of calls when the database goes away in the middle."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from fastapi import Request

from nexmdm.http.types import Shape
from nexmdm.kernel.load_shedding import reject_overloaded
from nexmdm.kernel.problems import Problem
from nexmdm.platform.auth import Caller
from nexmdm.platform.call import Call
from nexmdm.platform.rpc import Method, Methods


class _Which(Shape):
    fault: str = ""


async def _do(_call: Call, given: _Which) -> bool:
    if given.fault == "timeout":
        raise TimeoutError
    if given.fault == "overloaded":
        raise reject_overloaded("zone_changes")
    if given.fault == "bug":
        raise LookupError
    return True


METHODS = Methods([Method("do", "do", _Which, _do, brick="files")])


def asked(*faults: str, ids: bool = True) -> Request:
    """A batch of calls, each with its fault."""
    calls = [
        {"jsonrpc": "2.0", "method": "do", "params": {"fault": fault}} | ({"id": number} if ids else {})
        for number, fault in enumerate(faults)
    ]
    scope = {
        "type": "http",
        "headers": [(b"content-type", b"application/json")],
        "nexmdm.body": orjson.dumps(calls),
        "app": SimpleNamespace(state=SimpleNamespace(runtime=_Runtime())),
    }
    return Request(scope)


class _Runtime:
    def state(self, _kind: type) -> Any:
        return SimpleNamespace(settings=SimpleNamespace(platform_rpc_bytes=2**20))


CALLER = cast("Caller", SimpleNamespace(zone_id="alpha"))


async def answered(*faults: str, ids: bool = True) -> Any:
    response = await METHODS.answer_any(asked(*faults, ids=ids), CALLER)
    return [one.get("result", one.get("error", {}).get("data", {}).get("code")) for one in orjson.loads(response.body)]


@pytest.mark.parametrize("fault", ["timeout", "overloaded"])
async def test_a_later_call_that_meets_an_outage_hides_no_call_before_it(fault: str) -> None:
    assert await answered("", fault, "", "bug") == [True, "backend_unavailable", True, "internal_error"]


async def test_the_first_call_that_meets_an_outage_is_a_503() -> None:
    with pytest.raises(TimeoutError):
        await METHODS.answer_any(asked("timeout", ""), CALLER)
    with pytest.raises(Problem):
        await METHODS.answer_any(asked("overloaded", ""), CALLER)


async def test_a_notification_has_no_answer_then_either() -> None:
    response = await METHODS.answer_any(asked("", "timeout", ids=False), CALLER)
    assert response.status_code == 204
