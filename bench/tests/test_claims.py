"""An executor claims whole batches; one that is short, or has a task twice, is no figure."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest

from bench.claims import _Executor
from bench.rig import Refused, Unsupported
from harness.http.client import Answer


class Queue:
    """Stands for the service: an endless queue. short, repeats: what is wrong with the batches after the first."""

    def __init__(self, *, short: bool = False, repeats: bool = False, status: int = 200) -> None:
        self.short, self.repeats, self.status = short, repeats, status
        self.asked: list[dict[str, Any]] = []
        self._ids = count()

    def bearer(self, _key: str, _method: str, _path: str, *, json: dict[str, Any]) -> Any:
        self.asked.append(json)
        wrong = len(self.asked) > 1
        ids = [0 if wrong and self.repeats else next(self._ids) for _ in range(json["limit"] - (wrong and self.short))]
        return Answer(self.status, {}, dumped(ids), 1.0, "")


def dumped(ids: list[int]) -> bytes:
    return json.dumps({"tasks": [{"id": str(one)} for one in ids]}).encode()


def executor(queue: Any) -> _Executor:
    return _Executor(queue, "key")


def test_a_round_is_whole_batches() -> None:
    queue = Queue()
    assert executor(queue).round(3) > 0
    assert [asked["limit"] for asked in queue.asked] == [50, 50, 50]


@pytest.mark.parametrize("wrong", [{"short": True}, {"repeats": True}])
def test_a_batch_that_is_short_or_given_out_twice_is_refused(wrong: dict[str, bool]) -> None:
    with pytest.raises(Refused, match="the batch after 50 tasks"):
        executor(Queue(**wrong)).round(2)


def test_a_backend_without_the_route_cannot_be_compared() -> None:
    with pytest.raises(Unsupported, match="404"):
        executor(Queue(status=404)).round(1)
