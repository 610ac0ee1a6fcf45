"""Writes of small files by JSON-RPC, each a new file in the next zone, and whether the answer is the wanted one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from harness.open_loop.exchange import Exchange
from load.arrival_rate.schedule import MEASURED, Leg, jitters
from load.arrival_rate.workload import WorkerConfig, json_object
from load.workloads.write_record import SIZE, Text, WriteRecord, path_of, texts

WRITE = "write"


class WriteRequests:
    """Those of one process, into its own zones. tokens of the config: the key of a member of each."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._jitter = jitters(config.devices, config.seed)
        self._texts = texts(config.seed)
        self._rounds = itertools.count()  # a zone is of one process, so that a round and a zone make a file's number
        host = f"POST /api/nfs/write HTTP/1.1\r\nHost: {urlsplit(config.base_url).netloc}\r\nAuthorization: Bearer "
        self._heads = [f"{host}{key}\r\nContent-Type: application/json\r\n" for key in config.tokens]

    def of(self, leg: Leg) -> Iterator[Exchange]:
        """Those of a leg, in order of time."""
        config = self._config
        kind = WRITE if leg.kind == MEASURED else leg.kind
        for _, zone, at in leg.plan(self._jitter, config.index, config.processes):
            number = next(self._rounds) * config.devices + zone
            head = self._heads[zone // config.processes]
            yield Exchange(at - config.ahead_s, self._request(head, number), kind, number)

    def accept(self, exchange: Exchange, record: WriteRecord) -> bool:
        """Whether the file was written as it is wanted; notes whether it must be there."""
        answer, number = json_object(exchange.body), exchange.subject
        if exchange.status == 200 and self._is_written(answer, number):
            record.acknowledged.add(number)
            return True
        error = answer.get("error") if exchange.status == 200 else None
        if isinstance(error, dict):
            record.refusals[f"{error.get('code')} {error.get('message')}"] += 1
        elif exchange.status < 400 or exchange.status >= 500:  # a refusal (4xx) writes nothing
            record.unsure.add(number)
        return False

    def _request(self, head: str, number: int) -> bytes:
        params = f'{{"path":"{path_of(number)}","content":"{self._text(number).text}"}}'
        body = f'{{"jsonrpc":"2.0","id":{number},"params":{params}}}'
        request_id = f"X-Request-ID: {self._config.run}-{number}\r\nContent-Length: {len(body)}\r\n\r\n"
        return f"{head}{request_id}{body}".encode()

    def _is_written(self, answer: dict[str, Any], number: int) -> bool:
        result, etag = answer.get("result"), self._text(number).etag
        wanted = {"bytes_written": SIZE, "size": SIZE, "etag": etag, "version": 1}
        return answer.get("id") == number and isinstance(result, dict) and wanted.items() <= result.items()

    def _text(self, number: int) -> Text:
        return self._texts[number % len(self._texts)]
