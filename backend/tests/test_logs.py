"""Lines leave whole and in order: at once without an event loop, together where one is followed."""

from __future__ import annotations

import asyncio
import json
import threading
from select import PIPE_BUF
from typing import Any

import pytest

from nexmdm import logs
from nexmdm.logs import Event, emit, gathered


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What each write(2) of the log was."""

    class File:
        def write(self, piece: bytes) -> None:
            if piece:
                pieces.append(piece)

    pieces: list[bytes] = []
    sink = logs._Sink()
    sink._file = File()  # type: ignore[assignment]  # write is all that is asked of it
    monkeypatch.setattr(logs, "_sink", sink)
    return pieces


def numbers(piece: bytes) -> list[int]:
    return [json.loads(line)["number"] for line in piece.splitlines()]


def say(number: int, **more: Any) -> None:
    emit(Event.SERVICE_LOG, number=number, **more)


def test_without_a_loop_a_line_is_written_at_once(written: list[bytes]) -> None:
    say(1)
    say(2)
    assert [numbers(piece) for piece in written] == [[1], [2]]


async def test_lines_of_one_turn_are_one_write(written: list[bytes]) -> None:
    with gathered():
        say(1)
        say(2)
        assert written == []
        await asyncio.sleep(0)
        say(3)
        await asyncio.sleep(0)
    assert [numbers(piece) for piece in written] == [[1, 2], [3]]


async def test_the_end_of_the_loop_loses_no_line(written: list[bytes]) -> None:
    with gathered():
        say(1)
    say(2)
    assert [numbers(piece) for piece in written] == [[1], [2]]


async def test_no_write_exceeds_what_a_pipe_takes_whole(written: list[bytes]) -> None:
    with gathered():
        for number in range(40):
            say(number, message="x" * 300)
    assert [number for piece in written for number in numbers(piece)] == list(range(40))
    assert max(map(len, written)) <= PIPE_BUF
    assert len(written) < 10


async def test_a_line_longer_than_that_is_still_written_whole(written: list[bytes]) -> None:
    with gathered():
        say(1)
        say(2, message="x" * (2 * PIPE_BUF))
        say(3)
    assert [numbers(piece) for piece in written] == [[1], [2], [3]]


async def test_another_thread_touches_no_loop(written: list[bytes]) -> None:
    with gathered():
        other = threading.Thread(target=say, args=(1,))
        other.start()
        other.join()
        assert [numbers(piece) for piece in written] == [[1]]


def test_a_level_below_the_threshold_is_not_written(written: list[bytes]) -> None:
    emit(Event.DB_OPERATION, "debug", number=1)
    assert written == []
    logs._sink.threshold = 0
    emit(Event.DB_OPERATION, "debug", number=2)
    assert [numbers(piece) for piece in written] == [[2]]
