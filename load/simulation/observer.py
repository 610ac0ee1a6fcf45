"""What a simulation left behind, read from API, database, log, metrics and FCM inbox."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from harness.fcm.server import FcmControl
from harness.http.client import Client
from harness.oracles.secret_scan import Search
from harness.settings import Target
from harness.waiting import eventually
from load.measurements.observations import Before, Line, Metrics, Part, observed
from load.simulation.run import SimulationRun

_PAGE = 200
_MOST_PAGES = 25
_FINAL = {"completed", "failed", "expired"}

View = dict[str, Any]


@dataclass
class Observations:
    """rows: (device_id, bucket number) per row of device_heartbeats. downloads: (token_id, source) per row of
    apk_download_events. leaks: tables that hold a secret in clear."""

    devices: Part[list[View]] = field(default_factory=Part)
    dispatches: Part[list[View]] = field(default_factory=Part)
    metrics: Part[Metrics] = field(default_factory=Part)
    rows: Part[list[tuple[str, int]]] = field(default_factory=Part)
    downloads: Part[list[tuple[str | None, str]]] = field(default_factory=Part)
    lines: Part[list[Line]] = field(default_factory=Part)
    leaks: Part[list[str]] = field(default_factory=Part)
    inbox: Part[list[View]] = field(default_factory=Part)


class Observer:
    """Made before the run, so that it knows what was there already; `collect` reads what came to be since."""

    def __init__(self, run: SimulationRun, target: Target, client: Client) -> None:
        self._run, self._target, self._client = run, target, client
        self._before = Before(target, client)

    def begin(self) -> None:
        """Note the counters as they are. Raises what the client and the parser raise."""
        self._before.note(f"{self._run.tag}-before")

    def collect(self) -> Observations:
        """Wait for the dispatches to come to rest, then read everything."""
        with suppress(Exception):  # what is still open then is judged as it is
            eventually(self._at_rest, self._run.scenario.settle_s)
        return self._read()

    def _read(self) -> Observations:
        run = self._run
        return Observations(
            devices=observed(self._devices, run),
            dispatches=observed(self._dispatches, run),
            metrics=observed(self._metrics, run),
            rows=observed(self._rows, run, "database"),
            downloads=observed(self._downloads, run, "database"),
            lines=observed(self._before.lines, run, "logs"),
            leaks=observed(self._leaks, run, "database"),
            inbox=observed(self._inbox, run, "fcm"),
        )

    def _device_ids(self) -> list[str]:
        return list({device.device_id for device in self._run.devices if device.device_id})

    def _pages(self, path: str, wanted: set[str], key: str, request_id: str) -> list[View]:
        """The listed items with these keys, newest first, from as few pages as hold them."""
        found: list[View] = []
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

    def _devices(self) -> list[View]:
        return self._pages("/v1/devices", set(self._device_ids()), "device_id", "devices")

    def _dispatches(self) -> list[View]:
        """All dispatches to our devices: also those that nobody asked for."""
        return self._pages("/admin/dispatches", set(self._device_ids()), "device_id", "dispatches")

    def _at_rest(self) -> bool:
        states = {view["request_id"]: view["status"] for view in self._dispatches()}
        return all(states.get(str(device.command_id)) in _FINAL for device in self._run.commanded)

    def _metrics(self) -> Metrics:
        return self._before.metrics(f"{self._run.tag}-after")

    def _rows(self) -> list[tuple[str, int]]:
        with self._before.connect() as connection:
            rows = connection.execute(
                "SELECT device_id::text, floor(extract(epoch FROM bucket) / %s)::bigint FROM device_heartbeats"
                " WHERE device_id = ANY (%s::uuid[])",
                (self._run.scenario.bucket_s, self._device_ids()),
            )
            return [(device_id, number) for device_id, number in rows]

    def _downloads(self) -> list[tuple[str | None, str]]:
        with self._before.connect() as connection:
            rows = connection.execute(
                "SELECT e.token_id::text, e.source FROM apk_download_events e JOIN apk_versions v USING (build_id)"
                " WHERE v.package_name = %s",
                (self._run.package_name,),
            )
            return [(token_id, source) for token_id, source in rows]

    def _leaks(self) -> list[str]:
        with self._before.connect() as connection:
            return Search(self._run.secrets).tables(connection)

    def _inbox(self) -> list[View]:
        assert self._target.fcm_url is not None
        ours = {device.client.fcm_token for device in self._run.devices if device.client}
        return [attempt for attempt in FcmControl(self._target.fcm_url).inbox() if attempt["token"] in ours]


class FanoutObserver(Observer):
    """Of a command to thousands: their dispatches would be a hundred pages of /admin/dispatches, hence the table."""

    def _read(self) -> Observations:
        run = self._run
        return Observations(
            dispatches=observed(self._dispatches, run),
            metrics=observed(self._metrics, run),
            leaks=observed(self._leaks, run, "database"),
            inbox=observed(self._inbox, run, "fcm"),
            lines=observed(self._before.lines, run, "logs"),
        )

    def _dispatches(self) -> list[View]:
        with self._before.connect() as connection:
            rows = connection.execute(
                "SELECT request_id, command_request_id, device_id::text, status, outcome, created_at, sent_at"
                " FROM fcm_dispatches WHERE device_id = ANY (%s::uuid[])",
                (self._device_ids(),),
            )
            names = [column.name for column in rows.description or ()]
            return [dict(zip(names, row, strict=True)) for row in rows]
