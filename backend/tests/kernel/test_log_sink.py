"""Lines leave whole and in order; where they cannot, whoever logs goes on, the loss is counted and the rest follows."""

from __future__ import annotations

import json
import os
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from select import PIPE_BUF
from typing import Final

import pytest

from nexmdm.kernel.log_sink import FLUSH_S, Kind, Sink

WITHIN_S: Final = 10.0
MOST: Final = 65_536
AT_ONCE_S: Final = 1.0  # for thousands of lines, on a busy machine


def eventually(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not check():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)  # noqa: TID251 - the one bounded wait of these tests


def gap(lost: Counter[Kind]) -> bytes:
    return json.dumps({"lost": lost}).encode() + b"\n"


def sink_on(file: int, most_bytes: int = MOST) -> Sink:
    sink = Sink(gap)
    sink.open(file, most_bytes)
    return sink


def line(number: int, size: int = 100) -> bytes:
    head = f'{{"n": {number}, "x": "'.encode()
    return head + b"x" * (size - len(head) - 3) + b'"}\n'


def numbers(text: bytes) -> list[int]:
    return [found["n"] for found in map(json.loads, text.splitlines()) if "n" in found]


def told(text: bytes) -> Counter[str]:
    """What the lines about lost lines say."""
    lost: Counter[str] = Counter()
    for found in map(json.loads, text.splitlines()):
        lost.update(found.get("lost", {}))
    return lost


class Reader:
    """Reads a pipe in a thread until it is closed."""

    def __init__(self, file: int) -> None:
        self.text = b""
        self._file = os.dup(file)  # whoever gave it may close it
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while piece := os.read(self._file, 65_536):
            self.text += piece


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for file in (reading, writing):
        with suppress(OSError):
            os.close(file)


def pressed(sink: Sink, count: int, kind: Kind = "bulk", first: int = 0) -> int:
    """Give it so many lines, which must not take long; how many of them were lost."""
    sink.lost()
    began = time.monotonic()
    for number in range(first, first + count):
        sink.take(line(number), kind)
    assert time.monotonic() - began < AT_ONCE_S, "whoever logs has waited"
    return sink.lost()[kind]


def test_lines_are_written_in_order_and_none_is_missing(pipe: tuple[int, int]) -> None:
    sink, reader = sink_on(pipe[1], 2**20), Reader(pipe[0])
    assert all(sink.take(line(number), "bulk") for number in range(3000))
    sink.flush(WITHIN_S)
    eventually(lambda: numbers(reader.text) == list(range(3000)))


def test_no_write_exceeds_what_a_pipe_takes_whole() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # keeps what was one write together
    with ours, theirs:
        sink = sink_on(ours.fileno(), 2**20)
        for number in range(100):
            sink.take(line(number, 300), "bulk")
        sink.take(line(100, 2 * PIPE_BUF), "bulk")
        sink.flush(WITHIN_S)
        writes: list[bytes] = []
        theirs.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                writes.append(theirs.recv(MOST))
    assert numbers(b"".join(writes)) == list(range(101))
    assert all(len(written) <= PIPE_BUF for written in writes[:-1])
    assert len(writes[-1]) == 2 * PIPE_BUF
    assert len(writes) < 20, "lines of about the same time are one write"


def test_a_reader_that_reads_nothing_costs_lines_and_no_time(pipe: tuple[int, int]) -> None:
    sink = sink_on(pipe[1])
    lost = pressed(sink, 5000)
    assert 5000 - lost <= (MOST // 2 + 2 * 65_536) // 100, "more waits than may"
    began = time.monotonic()
    sink.flush()
    assert time.monotonic() - began < FLUSH_S + 0.5, "the end of a process waits for a reader"
    reader = Reader(pipe[0])
    eventually(lambda: told(reader.text) == {"bulk": lost})
    kept = numbers(reader.text)
    assert kept == sorted(kept)
    assert len(kept) == 5000 - lost
    assert sink.take(line(5000), "bulk"), "there is room again"
    eventually(lambda: numbers(reader.text)[-1] == 5000)


def test_a_reader_that_died_costs_lines_until_there_is_another(tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    first = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(fifo, os.O_WRONLY)
    os.close(first)
    sink = sink_on(writing)
    lost = pressed(sink, 2000)
    assert lost
    spent = time.process_time()
    sink.flush()
    assert time.process_time() - spent < FLUSH_S / 2, "it spins"
    reader = Reader(os.open(fifo, os.O_RDONLY))
    eventually(lambda: told(reader.text) == {"bulk": lost})
    assert numbers(reader.text) == list(range(2000 - lost))


def test_each_kind_has_a_share_that_lesser_ones_cannot_use(pipe: tuple[int, int]) -> None:
    sink = sink_on(pipe[1])
    kinds: list[Kind] = ["bulk", "ordinary", "reserved"]
    lost: dict[Kind, int] = {kind: pressed(sink, 5000, kind, 5000 * place) for place, kind in enumerate(kinds)}
    assert all(lost.values())
    reader = Reader(pipe[0])
    eventually(lambda: told(reader.text) == lost)
    kept = Counter(kinds[number // 5000] for number in numbers(reader.text))
    assert kept == {kind: 5000 - lost[kind] for kind in kinds}
    assert kept["ordinary"] >= MOST // 4 // 100
    assert kept["reserved"] >= MOST // 4 // 100


@contextmanager
def room(size_bytes: int) -> Iterator[None]:
    """No file may grow beyond this: a write that would is cut, the next fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_fragment_is_ended_and_its_line_written_once_more(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("ab") as file:
        sink, other = sink_on(file.fileno()), sink_on(file.fileno())
        other._torn = sink._torn  # as if forked from one parent
        with room(1050):
            for number in range(20):
                sink.take(line(number), "bulk")
            eventually(lambda: path.stat().st_size == 1050)
            other.take(line(20), "bulk")
            sink.flush()
        sink.flush(WITHIN_S)
        other.flush(WITHIN_S)
    lines = path.read_bytes().splitlines()
    [fragment] = [one for one in lines if not one.endswith(b"}")]
    assert line(10).startswith(fragment)
    lines.remove(fragment)
    assert sorted(numbers(b"\n".join(lines))) == list(range(21)), "each is there, once, and no line is empty"


def test_a_fragment_of_somebody_who_has_ended_is_ended_too(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for text, fragments in ((b"", 0), (line(1), 0), (line(1)[:50], 1)):
        path.write_bytes(text)
        with path.open("ab") as file:
            sink = sink_on(file.fileno())
            sink.take(line(2), "bulk")
            sink.flush(WITHIN_S)
        lines = path.read_bytes().splitlines(keepends=True)
        assert lines[-1] == line(2)
        assert sum(not one.endswith(b"}\n") for one in lines) == fragments, "no empty line, and no line in another"


def test_a_pipe_that_others_made_non_blocking_loses_nothing(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    sink = sink_on(pipe[1], 2**20)
    for number in range(3000):
        sink.take(line(number), "bulk")
    sink.flush()
    reader = Reader(pipe[0])
    eventually(lambda: numbers(reader.text) == list(range(3000)))


def test_a_line_that_is_logged_while_another_is_taken_blocks_nobody(pipe: tuple[int, int]) -> None:
    class Collected(bytes):
        """A line at whose taking a finalizer runs that logs, as the garbage collector may decide."""

        logged = False

        def __len__(self) -> int:
            if not self.logged:
                self.logged = True
                sink.take(line(1), "bulk")
            return super().__len__()

    sink, reader = sink_on(pipe[1]), Reader(pipe[0])
    thread = threading.Thread(target=sink.take, args=(Collected(line(2)), "bulk"), daemon=True)
    thread.start()
    thread.join(WITHIN_S)
    assert not thread.is_alive()
    eventually(lambda: numbers(reader.text) == [1, 2])


def test_without_a_thread_lines_wait_for_one(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sink, reader = sink_on(pipe[1]), Reader(pipe[0])
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        sink.take(line(1), "bulk")
    sink.take(line(2), "bulk")
    eventually(lambda: numbers(reader.text) == [1, 2])
