"""Writes go to the zones in turns, each a new file, and only the answer of a whole write is the wanted one."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from load.arrival_rate.schedule import MEASURED, WARM_UP, Leg
from load.arrival_rate.writes import WriteRequests
from load.tests.prepared import part, sent
from load.workloads.write_record import SIZE, WriteRecord, path_of, texts

LEG = Leg(MEASURED, 0.0, 100.0, 60)


def writes(zones: int = 4, index: int = 0, processes: int = 1) -> WriteRequests:
    keys = [f"key-{zone}" for zone in range(index, zones, processes)]
    return WriteRequests(part("writes", zones, keys, index, processes))


def test_each_is_a_new_file_of_a_kibibyte_in_the_next_zone() -> None:
    asked, paths = writes(), set[str]()
    for place, exchange in enumerate([*asked.of(LEG), *asked.of(Leg(WARM_UP, 0.0, 100.0, 40))]):
        _, key, call = sent(exchange)
        assert exchange.kind == ("write" if place < 60 else WARM_UP)
        assert key == f"key-{exchange.subject % 4}" == f"key-{place % 4}"
        assert (call["jsonrpc"], call["id"]) == ("2.0", exchange.subject)
        assert call["params"] == {"path": path_of(exchange.subject), "content": texts(1)[exchange.subject % 64].text}
        assert len(call["params"]["content"].encode()) == SIZE == 1024
        paths.add(call["params"]["path"])
    assert len(paths) == 100


@pytest.mark.parametrize("zones", [1, 2, 5])
def test_processes_write_into_zones_of_their_own_and_no_file_twice(zones: int) -> None:
    found = [[sent(one) for one in writes(zones, index, 2).of(LEG)] for index in (0, 1)]
    assert {key for _, key, _ in found[0]} & {key for _, key, _ in found[1]} == set()
    assert len({call["params"]["path"] for one in found for _, _, call in one}) == 60


GOOD = {"bytes_written": SIZE, "size": SIZE, "version": 1, "modified_at": "2026-11-27T03:00:00Z"}
QUOTA = {"code": -32010, "message": "Quota exceeded", "data": {"code": "quota_exceeded"}}


@pytest.mark.parametrize(
    "status, body, wanted, ledger",
    [
        (200, {"result": GOOD}, True, "acknowledged"),
        (200, {"result": GOOD | {"size": 1023}}, False, "unsure"),
        (200, {"result": GOOD | {"version": 2}}, False, "unsure"),
        (200, {"result": GOOD | {"etag": "0" * 64}}, False, "unsure"),
        (200, {"result": GOOD, "id": -1}, False, "unsure"),
        (200, {"result": None}, False, "unsure"),
        (200, {"error": QUOTA}, False, "refusals"),
        (204, None, False, "unsure"),
        (401, {"code": "token_invalid"}, False, ""),
        (429, {"code": "rate_limited"}, False, ""),
        (503, {"code": "overloaded"}, False, "unsure"),
        (0, None, False, "unsure"),
    ],
)
def test_only_a_whole_write_is_acknowledged(status: int, body: Any, wanted: bool, ledger: str) -> None:
    asked, record = writes(), WriteRecord()
    exchange = next(iter(asked.of(LEG)))
    exchange.status = status
    if body is not None:
        if isinstance(body.get("result"), dict):
            body = body | {"result": {"etag": texts(1)[exchange.subject % 64].etag} | body["result"]}
        exchange.body = json.dumps({"jsonrpc": "2.0", "id": exchange.subject} | body).encode()
    exchange.released = exchange.ended = time.monotonic()
    assert asked.accept(exchange, record) is wanted
    numbers = {"acknowledged": record.acknowledged, "unsure": record.unsure}
    assert {name for name, found in numbers.items() if found == {exchange.subject}} == {ledger} - {"refusals", ""}
    assert list(record.refusals) == (["-32010 Quota exceeded"] if ledger == "refusals" else [])
