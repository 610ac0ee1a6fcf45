"""A stream of events (text/event-stream) that is read beside what a case does; its messages as they came."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import httpx

from harness.http import tls

_END = None
_SILENT_S = 30.0  # twice as long as a live stream ever is


@dataclass(frozen=True)
class Message:
    """One message: its fields as they stood there; comments are counted by the stream."""

    id: str
    event: str
    data: str


def messages(lines: Iterable[str]) -> Iterator[Message | str]:
    """The messages in the lines of a stream, and each comment as a text. ValueError: a field that nobody knows."""
    fields: dict[str, list[str]] = {}
    for line in lines:
        if not line:
            if fields:
                yield Message(*("\n".join(fields.get(name, [])) for name in ("id", "event", "data")))
            fields = {}
        elif line.startswith(":"):
            yield line[1:].strip()
        else:
            name, _, value = line.partition(":")
            if name not in ("id", "event", "data", "retry"):
                raise ValueError(f"no field of a message: {line[:200]!r}")
            fields.setdefault(name, []).append(value.removeprefix(" "))


class Stream:
    """The open answer. A thread reads it: what has come waits here."""

    def __init__(self, response: httpx.Response) -> None:
        self.status, self.headers = response.status_code, dict(response.headers)
        self.comments: list[str] = []
        self._socket: socket.socket = response.extensions["network_stream"].get_extra_info("socket")
        self._waiting: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(response,), daemon=True)
        self._reader.start()

    def _read(self, response: httpx.Response) -> None:
        try:
            for one in messages(response.iter_lines()):
                if isinstance(one, str):
                    self.comments.append(one)
                else:
                    self._waiting.put(one)
        except httpx.HTTPError:
            pass  # it was cut: nothing more comes
        finally:
            self._waiting.put(_END)

    def close(self) -> None:
        """Read nothing more; the connection is reset when it is closed, so that the service knows at once."""
        with contextlib.suppress(OSError):  # it may be closed already
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._socket.shutdown(socket.SHUT_RD)
        self._reader.join()

    def take(self, count: int, within_s: float = 5.0) -> list[Message]:
        """The next so many messages. AssertionError: one does not come in time, or the stream has ended."""
        taken: list[Message] = []
        while len(taken) < count:
            try:
                message = self._waiting.get(timeout=within_s)
            except queue.Empty:
                raise AssertionError(f"{len(taken)} of {count} messages within {within_s:g} s: {taken}") from None
            assert message is not _END, f"the stream has ended after {len(taken)} of {count} messages"
            taken.append(message)
        return taken

    def rest(self, within_s: float = 5.0) -> list[Message]:
        """What comes until the stream ends. AssertionError: nothing comes in time, and it does not end."""
        rest: list[Message] = []
        while True:
            try:
                message = self._waiting.get(timeout=within_s)
            except queue.Empty:
                raise AssertionError(f"the stream goes on after {rest}") from None
            if message is _END:
                return rest
            rest.append(message)


@contextlib.contextmanager
def follow(base_url: str, path: str, headers: Iterable[tuple[str, str]], *, within_s: float = 10.0) -> Iterator[Stream]:
    """The stream of an answer that is read in the block. within_s: for connecting; a silent stream may last."""
    trusted = tls.context() if base_url.startswith("https:") else False
    timeout = httpx.Timeout(within_s, read=_SILENT_S)
    with (
        httpx.Client(timeout=timeout, trust_env=False, verify=trusted) as client,
        client.stream("GET", base_url + path, headers=httpx.Headers(list(headers), encoding="latin-1")) as response,
    ):
        stream = Stream(response)
        try:
            yield stream
        finally:
            stream.close()
