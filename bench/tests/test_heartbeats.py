"""The heartbeats of a pair: each device once in a period, then one at a time, and an answer that ends it."""

from __future__ import annotations

import contextlib
import os
from types import SimpleNamespace
from typing import Any

import pytest

from bench import heartbeats
from bench.pairs import whole
from bench.rig import Refused, Unsupported
from bench.tests.test_flood import CLOSING, YES, Server

TOKENS = [str(number) for number in range(10)]


class Rig:
    """A rig whose backend is the server of a test."""

    tokens = TOKENS

    def __init__(self, server: Server) -> None:
        self.periods: list[int] = []
        self._url = server.url.removesuffix("/v1/heartbeat")

    @contextlib.contextmanager
    def backend(self) -> Any:
        yield SimpleNamespace(base_url=self._url, pid=os.getpid())

    def postgres_pid(self) -> None:
        return None


@pytest.fixture
def rig(server: Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    found = Rig(server)
    monkeypatch.setattr(heartbeats, "next_period", lambda _heard_at: found.periods.append(server.heard.total()))
    monkeypatch.setattr(heartbeats, "DEVICES", len(TOKENS))
    monkeypatch.setattr(heartbeats, "_AT_ONCE", 4)
    return found


def test_each_device_is_heard_once_in_a_period(server: Server, rig: Any) -> None:
    whole(heartbeats.in_turns(rig))
    assert [server.heard[token] for token in TOKENS] == [7] + [6] * 9
    assert rig.periods == [11, 21, 31, 41, 51], "what was heard when each period began"


def test_there_is_a_value_for_each_figure(rig: Any) -> None:
    values = whole(heartbeats.in_turns(rig))
    assert len(values) == len(heartbeats.FIGURES)
    per_s, *_, p50_ms, p95_ms = values
    assert per_s > 1
    assert 0 < p50_ms <= p95_ms < 10_000
    assert [figure.higher_is_better for figure in heartbeats.FIGURES] == [True] + [False] * 5


def no(status: int) -> bytes:
    return YES.replace(b"200 OK", f"{status} No".encode())


@pytest.mark.parametrize("status, kind", [(401, Unsupported), (404, Unsupported), (429, Refused), (503, Refused)])
def test_a_token_that_is_not_taken_ends_it_at_once(
    server: Server, rig: Any, status: int, kind: type[Exception]
) -> None:
    server.answer = lambda _token, _times: no(status)
    with pytest.raises(Refused, match=f"seeded device: {status}") as found:
        whole(heartbeats.in_turns(rig))
    assert type(found.value) is kind
    assert server.heard.total() == 1


@pytest.mark.parametrize("times", [1, 2, 4])
def test_an_answer_that_is_not_200_ends_it(server: Server, rig: Any, times: int) -> None:
    server.answer = lambda token, heard: no(503) if (token, heard) == ("7", times) else YES
    with pytest.raises(Refused, match="seeded device: 503"):
        whole(heartbeats.in_turns(rig))


def test_a_connection_that_closes_costs_no_heartbeat(server: Server, rig: Any) -> None:
    server.answer = lambda token, _: CLOSING if token == "7" else YES
    whole(heartbeats.in_turns(rig))
