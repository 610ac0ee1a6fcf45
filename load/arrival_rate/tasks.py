"""Calls of a zone's scheduler: tasks are submitted, claimed, completed and looked at, each by its own kind of request.

Who completes has a lease from a claim before; where none is held the request is a claim, so that the queue stays short.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from harness.open_loop.exchange import Exchange
from harness.platform.tasks import LONG_S, SCHEDULER
from load.arrival_rate.schedule import MEASURED, Leg, jitters
from load.arrival_rate.workload import WorkerConfig, json_object
from load.workloads.task_record import CLAIMED_AT_ONCE, TaskRecord

SUBMIT, CLAIM, COMPLETE, LOOK, CLASSIFY = "submit", "claim", "complete", "look", "classify"
_CLAIM_BODY: Final = json.dumps({"executor": "worker", "limit": CLAIMED_AT_ONCE, "lease_s": LONG_S})
_CLASSIFY_BODY: Final = json.dumps({"priority": "low", "request_state": "io_wait"})  # lifted to batch


class _Asked(NamedTuple):
    """A request that is not answered yet. subject: the idempotency key of a submit, the task of what is about one."""

    kind: str
    zone: int
    subject: str = ""


class TaskRequests:
    """Those of one process, into its own zones. tokens of the config: the key of a member of each."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._jitter = jitters(config.devices, config.seed)
        self._rng = random.Random(f"{config.seed}/{config.index}")
        self._kinds, self._shares = zip(*config.mix, strict=True)
        host = f" HTTP/1.1\r\nHost: {urlsplit(config.base_url).netloc}\r\nAuthorization: Bearer "
        self._heads = dict(zip(config.own, (f"{host}{key}\r\n" for key in config.tokens), strict=True))
        self._leases: dict[int, deque[tuple[str, str]]] = {zone: deque() for zone in config.own}
        self._seen: dict[int, str] = {}  # a task of each zone, to look at
        self._asked: dict[int, _Asked] = {}  # by the number of the request
        self._requests = 0

    def of(self, leg: Leg) -> Iterator[Exchange]:
        """Those of a leg, in order of time. What a request is, is drawn when it is next."""
        config = self._config
        for _, zone, at in leg.plan(self._jitter, config.index, config.processes):
            number, self._requests = self._requests, self._requests + 1
            asked, request = self._drawn(zone, number)
            self._asked[number] = asked
            yield Exchange(at - config.ahead_s, request, asked.kind if leg.kind == MEASURED else leg.kind, number)

    def accept(self, exchange: Exchange, record: TaskRecord) -> bool:
        """Whether the answer is the wanted one; notes what must be there, or may be."""
        asked, answer = self._asked.pop(exchange.subject), json_object(exchange.body)
        if self._is_right(asked, exchange.status, answer, record):
            return True
        record.refusals[f"{asked.kind} {exchange.status} {answer.get('code', '')}".strip()] += 1
        if exchange.status < 400 or exchange.status >= 500:  # a refusal (4xx) changes nothing
            _note_unsure(asked, record)
        return False

    def _drawn(self, zone: int, number: int) -> tuple[_Asked, bytes]:
        """What is asked, and its bytes."""
        kind = self._rng.choices(self._kinds, self._shares)[0]
        if kind == COMPLETE and not self._leases[zone]:
            kind = CLAIM
        if kind == LOOK and zone not in self._seen:
            kind = SUBMIT
        if kind == SUBMIT:
            key = f"{self._config.run}-{self._config.index}-{number}"
            body = json.dumps({"executor": "worker", "task_type": "load", "idempotency_key": key})
            return _Asked(kind, zone, key), self._request("POST", "submit", zone, number, body)
        if kind == CLAIM:
            return _Asked(kind, zone), self._request("POST", "claim", zone, number, _CLAIM_BODY)
        if kind == CLASSIFY:
            return _Asked(kind, zone), self._request("POST", "classify", zone, number, _CLASSIFY_BODY)
        if kind == LOOK:
            task_id = self._seen[zone]
            return _Asked(kind, zone, task_id), self._request("GET", f"task/{task_id}", zone, number)
        task_id, token = self._leases[zone].popleft()
        body = json.dumps({"lease_token": token, "result": {}})
        return _Asked(kind, zone, task_id), self._request("POST", f"task/{task_id}/complete", zone, number, body)

    def _request(self, method: str, path: str, zone: int, number: int, body: str = "") -> bytes:
        request_id = f"X-Request-ID: {self._config.run}-{self._config.index}-{number}\r\n"
        content = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        return f"{method} {SCHEDULER}/{path}{self._heads[zone]}{request_id}{content}\r\n{body}".encode()

    def _is_right(self, asked: _Asked, status: int, answer: Mapping[str, Any], record: TaskRecord) -> bool:
        match asked.kind:
            case "submit" if status == 201 and answer.get("status") == "queued" and isinstance(answer.get("id"), str):
                record.submitted[asked.subject] = self._seen[asked.zone] = answer["id"]
                return True
            case "claim" if status == 200 and (leases := _leases(answer)) is not None:
                record.claimed.update(task_id for task_id, _ in leases)
                self._leases[asked.zone].extend(leases)
                return True
            case "complete" if status == 200 and answer.get("status") == "completed":
                record.completed.add(asked.subject)
                return bool(answer.get("id") == asked.subject)
            case "look":
                return status == 200 and answer.get("id") == asked.subject
            case "classify":
                return status == 200 and answer == {"priority_class": "batch"}
        return False


def _leases(answer: Mapping[str, Any]) -> list[tuple[str, str]] | None:
    """Id and token of each task that was given out; None: this is no right answer."""
    try:
        leases = [(str(task["id"]), str(task["lease_token"])) for task in answer["tasks"] if task["attempt"] == 1]
        return leases if len(leases) == len(answer["tasks"]) <= CLAIMED_AT_ONCE else None
    except (KeyError, TypeError):
        return None


def _note_unsure(asked: _Asked, record: TaskRecord) -> None:
    if asked.kind == SUBMIT:
        record.unsure.add(asked.subject)
    elif asked.kind == CLAIM:
        record.lost_claims += 1
    elif asked.kind == COMPLETE:
        record.unsure_completed.add(asked.subject)
