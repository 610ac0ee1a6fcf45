"""The heartbeats of a seeded fleet as a workload: requests, devices, and what each request must leave behind."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from harness.devices import seeded_fleet
from harness.devices.device import Device
from harness.http.client import Client
from harness.open_loop.exchange import Exchange
from harness.settings import SettingsError, Target
from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.schedule import MEASURED, Leg, jitters
from load.arrival_rate.workload import LOG_ERRORS, Assignment, Checks, Observations, Subject, WorkerConfig, Workload
from load.measurements.observations import Before, count_errors, needs, observed
from load.measurements.server_clock import ServerClock, from_database
from load.verdict.check import Finding, RunCheck, compared
from load.verdict.counters import Growth, grown
from load.workloads.heartbeat_rows import HeartbeatRows, bucket_of, pair

HEARTBEAT: Final = "heartbeat"
_ROWS = (
    "SELECT device_id::text, floor(extract(epoch FROM bucket) / %s)::bigint FROM device_heartbeats"
    " WHERE bucket >= to_timestamp(%s)"
)
_BLOCK = 20_000
_BODIES = 64
_LATE_BUCKETS = 6  # a heartbeat that was given up may still be stored once the server has recovered


class HeartbeatRequests:
    """The part of the fleet that the config names; every heartbeat has a request id of its own."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._jitter = jitters(config.devices, config.seed)
        self._tokens = [token.encode() for token in config.tokens]
        self._ends = _ends(config)

    def of(self, leg: Leg) -> Iterator[Exchange]:
        """Those of a leg, in order of time."""
        config, tokens, ends = self._config, self._tokens, self._ends
        to_monotonic = -config.ahead_s
        kind = HEARTBEAT if leg.kind == MEASURED else leg.kind
        request_id = f"\r\nX-Request-ID: {config.run}-{kind}-".encode()
        for number, device, at in leg.plan(self._jitter, config.index, config.processes):
            head, tail = ends[number % _BODIES]
            request = b"%b%b%b%d%b" % (head, tokens[device // config.processes], request_id, number, tail)
            yield Exchange(at + to_monotonic, request, kind, device)

    def accept(self, exchange: Exchange, ledger: HeartbeatRows) -> bool:
        """Whether the answer is the wanted one; notes the row that it must have left."""
        config, status = self._config, exchange.status
        first = bucket_of(exchange.released + config.ahead_s - config.uncertainty_s, config.bucket_s)
        last = bucket_of(exchange.ended + config.ahead_s + config.uncertainty_s, config.bucket_s)
        ledger.record(exchange.subject, first, last if status else last + _LATE_BUCKETS, status)
        return status == 200


def _ends(config: WorkerConfig) -> list[tuple[bytes, bytes]]:
    """Requests without what differs from heartbeat to heartbeat: up to the token, and from after the request id on."""
    head = f"POST /v1/heartbeat HTTP/1.1\r\nHost: {urlsplit(config.base_url).netloc}\r\nAuthorization: Bearer "
    device = Device(config.base_url, config.run, rng=random.Random(config.seed))
    bodies = [json.dumps(device.vitals(), separators=(",", ":")) for _ in range(_BODIES)]
    return [
        (head.encode(), f"\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        for body in bodies
    ]


class SeededFleet(Subject):
    """A target with a database. SettingsError without one: 100,000 devices cannot enrol over HTTP in a sane time."""

    def __init__(self, target: Target) -> None:
        if target.database_url is None:
            raise SettingsError("DATABASE_URL: not set; the devices of a fleet are put into the database, not enrolled")
        self.checks = CHECKS
        self._url = target.database_url
        self._before = Before(target, Client(target.base_url, target.admin_key, target.hmac_secret))
        self._numbers: dict[str, int] = {}

    def clock(self) -> ServerClock:
        """The database's, which buckets the heartbeats. psycopg.Error."""
        return from_database(self._url)

    def begin(self, run: ArrivalRateRun) -> None:
        """TransportError, ValueError: the target does not tell its counters."""
        self._before.note(f"{run.tag}-before")

    def seed(self, whole: Assignment) -> None:
        """Put them into the database. psycopg.Error."""
        devices = self._fleet(whole).insert(self._url, whole.devices)
        self._numbers = {device.device_id: number for number, device in enumerate(devices)}

    def tokens(self, part: Assignment) -> list[str]:
        """psycopg.Error: the key that they are derived from cannot be read."""
        fleet = self._fleet(part)
        return [fleet.token(number) for number in part.own]

    def _fleet(self, part: Assignment) -> seeded_fleet.Fleet:
        return seeded_fleet.Fleet(seeded_fleet.read_key(self._url), part.run, int(part.origin * 1000))

    def observe(self, run: ArrivalRateRun) -> Observations:
        return Observations(
            rows=observed(lambda: self._rows(run), run, "database"),
            metrics=observed(lambda: self._before.metrics(f"{run.tag}-after"), run),
            log=observed(lambda: count_errors(self._before.stream()), run, "logs"),
        )

    def _rows(self, run: ArrivalRateRun) -> list[int]:
        bucket_s = run.scenario.bucket_s
        with self._before.connect() as connection, connection.cursor("rows") as cursor:
            cursor.itersize = _BLOCK
            cursor.execute(_ROWS, (bucket_s, run.started_at - 2 * bucket_s))
            return [pair(self._numbers[device], bucket) for device, bucket in cursor if device in self._numbers]


def _rows(run: ArrivalRateRun, seen: Observations) -> Finding:
    rows = run.ledger(HeartbeatRows)
    faults, told = rows.compare(seen.rows.get())
    return compared(faults, told, sure=len(rows.sure), unsure=len(rows.spans))


def _counters(run: ArrivalRateRun, seen: Observations) -> Finding:
    needs(run, "process")
    if not run.answered:
        return Finding(["nothing was answered with 200"], "nothing to compare")
    return grown(seen.metrics.get(), Growth("heartbeats", {}, run.answered, run.answered + run.unanswered))


CHECKS: Checks = (
    RunCheck("rows", "one row per (device, bucket) that was sent", _rows),
    RunCheck("counters", "the counter of heartbeats grew by what was answered", _counters),
    LOG_ERRORS,
)

HEARTBEATS: Final = Workload(HeartbeatRequests, HeartbeatRows, HeartbeatRows.from_dict, SeededFleet)
