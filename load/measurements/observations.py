"""What a run left behind, read from API, database, log, metrics and FCM inbox. It judges nothing.

A part that the target did not offer is absent as `disabled`; one that it offered and that could not be read is absent
as `inconclusive`. Neither can pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg

from harness.fcm.server import FcmControl
from harness.http.client import Client
from harness.http.prometheus import parse
from harness.oracles.log_tail import LogTap
from harness.oracles.secret_scan import Search
from harness.settings import Target
from harness.verdict.thresholds import Status
from harness.waiting import eventually
from load.measurements.run import Run

_PAGE = 200
_MOST_PAGES = 25
_NEEDS = {
    "database": "needs DATABASE_URL",
    "fcm": "needs NEXMDM_FCM_URL, the control of a fake FCM",
    "logs": "needs NEXMDM_LOG_FILE",
}
_PARTS = {  # what each needs of the target
    "devices": None,
    "dispatches": None,
    "metrics": None,
    "rows": "database",
    "downloads": "database",
    "leaks": "database",
    "inbox": "fcm",
    "lines": "logs",
}
_FINAL = {"completed", "failed", "expired"}

Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class Evidence:
    """Each part is None when it is absent; `absent` says why, by the name of the part."""

    devices: list[dict[str, Any]] | None = None
    dispatches: list[dict[str, Any]] | None = None
    metrics: Metrics | None = None
    rows: list[tuple[str, int]] | None = None  # (device_id, bucket number) per row of device_heartbeats
    downloads: list[tuple[str | None, str]] | None = None  # (token_id, source) per row of apk_download_events
    lines: list[dict[str, Any]] | None = None
    leaks: list[str] | None = None  # tables that hold a secret in clear
    inbox: list[dict[str, Any]] | None = None
    absent: dict[str, tuple[Status, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Metrics:
    """Counters before and after the run."""

    before: Numbers
    after: Numbers

    def delta(self, name: str, **labels: str) -> float:
        """The growth of all series of `name` that carry these labels. 0 for a series that never appeared."""
        wanted = set(labels.items())

        def total(numbers: Numbers) -> float:
            return sum(value for (series, has), value in numbers.items() if series == name and wanted <= has)

        return total(self.after) - total(self.before)


def read_metrics(client: Client, request_id: str) -> Numbers:
    """The samples of /metrics. ValueError when it does not answer 200."""
    answer = client.admin("GET", "/metrics", request_id=request_id)
    if answer.status != 200:
        raise ValueError(f"/metrics answered {answer.status}")
    return parse(answer.body.decode())


class Collector:
    """Made before the run, so that it knows what was there already; `collect` reads what came to be since."""

    parts: Sequence[str] = tuple(_PARTS)

    def __init__(self, run: Run, target: Target, client: Client) -> None:
        self._run, self._target, self._client = run, target, client
        self._log = LogTap(target.log_file) if target.log_file else None
        self._mark = self._log.mark() if self._log else 0
        self._metrics_before: Numbers | None = None

    def begin(self) -> None:
        """Note the counters as they are. Raises what the client and the parser raise."""
        self._metrics_before = read_metrics(self._client, f"{self._run.tag}-before")

    def collect(self) -> Evidence:
        """Wait for the dispatches to come to rest, then read everything."""
        evidence = Evidence()
        with suppress(Exception):  # what is still open then is judged as it is
            eventually(self._at_rest, self._run.profile.settle_s)

        for name in self.parts:
            need = _PARTS[name]
            if need is not None and need not in self._run.capabilities:
                evidence.absent[name] = (Status.DISABLED, _NEEDS[need])
                continue
            try:
                setattr(evidence, name, getattr(self, f"_{name}")())
            except Exception as error:  # noqa: BLE001  # an unreadable part is reported, whatever broke
                evidence.absent[name] = (
                    Status.INCONCLUSIVE,
                    f"could not be read: {type(error).__name__}: {error}"[:300],
                )
        return evidence

    def _device_ids(self) -> list[str]:
        return list({seat.device_id for seat in self._run.seats if seat.device_id})

    def _lines(self) -> list[dict[str, Any]]:
        return self._log.since(self._mark) if self._log else []

    def _pages(self, path: str, wanted: set[str], key: str, request_id: str) -> list[dict[str, Any]]:
        """The listed items with these keys, newest first, from as few pages as hold them."""
        found: list[dict[str, Any]] = []
        query: dict[str, Any] = {"limit": _PAGE}
        for number in range(_MOST_PAGES):
            answer = self._client.admin("GET", path, params=query, request_id=f"{self._run.tag}-{request_id}-{number}")
            if answer.status != 200:
                raise ValueError(f"{path} answered {answer.status}")
            page = answer.json()
            found += [item for item in page["items"] if item[key] in wanted]
            query["cursor"] = page["next_cursor"]
            complete = wanted <= {item[key] for item in found}
            if query["cursor"] is None or (complete and not any(item[key] in wanted for item in page["items"])):
                break
        return found

    def _devices(self) -> list[dict[str, Any]]:
        return self._pages("/v1/devices", set(self._device_ids()), "device_id", "devices")

    def _dispatches(self) -> list[dict[str, Any]]:
        """All dispatches to our devices: also those that nobody asked for."""
        return self._pages("/admin/dispatches", set(self._device_ids()), "device_id", "dispatches")

    def _at_rest(self) -> bool:
        states = {view["request_id"]: view["status"] for view in self._dispatches()}
        return all(states.get(str(seat.command_id)) in _FINAL for seat in self._run.commanded)

    def _metrics(self) -> Metrics:
        if self._metrics_before is None:
            raise ValueError("the counters were not read before the run")
        return Metrics(self._metrics_before, read_metrics(self._client, f"{self._run.tag}-after"))

    def _connect(self) -> psycopg.Connection:
        assert self._target.database_url is not None
        connection = psycopg.connect(self._target.database_url, connect_timeout=10)
        connection.read_only = True
        return connection

    def _rows(self) -> list[tuple[str, int]]:
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT device_id::text, floor(extract(epoch FROM bucket) / %s)::bigint FROM device_heartbeats"
                " WHERE device_id = ANY (%s::uuid[])",
                (self._run.profile.bucket_s, self._device_ids()),
            )
            return [(device_id, number) for device_id, number in rows]

    def _downloads(self) -> list[tuple[str | None, str]]:
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT e.token_id::text, e.source FROM apk_download_events e JOIN apk_versions v USING (build_id)"
                " WHERE v.package_name = %s",
                (self._run.package_name,),
            )
            return [(token_id, source) for token_id, source in rows]

    def _leaks(self) -> list[str]:
        with self._connect() as connection:
            return Search(self._run.secrets).tables(connection)

    def _inbox(self) -> list[dict[str, Any]]:
        assert self._target.fcm_url is not None
        ours = {seat.device.fcm_token for seat in self._run.seats if seat.device}
        return [attempt for attempt in FcmControl(self._target.fcm_url).inbox() if attempt["token"] in ours]


class FanoutCollector(Collector):
    """Of a command to thousands: their dispatches would be a hundred pages of /admin/dispatches, hence the table."""

    parts = ("dispatches", "metrics", "leaks", "inbox", "lines")

    def _dispatches(self) -> list[dict[str, Any]]:
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT request_id, command_request_id, device_id::text, status, outcome, created_at, sent_at"
                " FROM fcm_dispatches WHERE device_id = ANY (%s::uuid[])",
                (self._device_ids(),),
            )
            names = [column.name for column in rows.description or ()]
            return [dict(zip(names, row, strict=True)) for row in rows]
