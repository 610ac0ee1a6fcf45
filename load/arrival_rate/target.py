"""What a fleet stands on: its seeded rows, the server's clock, and what the run must have left behind in the target.

It reads the log line by line and keeps none of it: a fleet causes hundreds of thousands of lines.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from harness.devices import seeded_fleet
from harness.http.client import Client
from harness.oracles.log_tail import LogTap
from harness.settings import SettingsError, Target
from harness.verdict.thresholds import Check, Status
from load.measurements.observations import Metrics, Numbers, read_metrics
from load.measurements.server_clock import ServerClock, from_database
from load.measurements.tally import Rows, pair

_ROWS = (
    "SELECT device_id::text, floor(extract(epoch FROM bucket) / %s)::bigint FROM device_heartbeats"
    " WHERE bucket >= to_timestamp(%s)"
)


@dataclass(frozen=True)
class Left:
    """What all legs together must have left behind. unanswered: beats of which it is not known."""

    rows: Rows
    answered: int
    unanswered: int


class Ground:
    """A target with a database. SettingsError without one: 100,000 devices cannot enrol over HTTP in a sane time."""

    def __init__(self, target: Target) -> None:
        if target.database_url is None:
            raise SettingsError("DATABASE_URL: not set; the devices of a fleet are put into the database, not enrolled")
        self._target = target
        self._url = target.database_url
        self._client = Client(target.base_url, target.admin_key, target.hmac_secret)
        self._numbers: dict[str, int] = {}
        self._began = 0.0
        self._before: Numbers = {}
        self._log = LogTap(target.log_file) if target.log_file else None
        self._mark = 0

    def seed(self, count: int) -> list[str]:
        """Put this many devices into the database; returns their tokens. psycopg.Error."""
        devices = seeded_fleet.seed(self._url, count)
        self._numbers = {device.device_id: number for number, device in enumerate(devices)}
        return [device.token for device in devices]

    def clock(self) -> ServerClock:
        """The database's, which buckets the heartbeats. psycopg.Error."""
        return from_database(self._url)

    def begin(self, run: str, now: float) -> None:
        """Note what is there already. TransportError, ValueError: the target does not tell its counters."""
        self._began = now
        self._before = read_metrics(self._client, f"{run}-before")
        self._mark = self._log.mark() if self._log else 0

    def checks(self, run: str, left: Left, bucket_s: float) -> list[Check]:
        """Rows, counters, log. What cannot be read is inconclusive."""
        return [
            answer("rows", "one row per (device, bucket) that was sent", lambda: self._rows(left, bucket_s)),
            answer("counters", "nexmdm_heartbeats_total grew by what was answered", lambda: self._counters(run, left)),
            answer("log-errors", "no ERROR line in the log", self._errors),
        ]

    def _rows(self, left: Left, bucket_s: float) -> tuple[Status, str]:
        with psycopg.connect(self._url, connect_timeout=10) as connection, connection.cursor("rows") as cursor:
            cursor.itersize = 20_000
            cursor.execute(_ROWS, (bucket_s, self._began - 2 * bucket_s))
            found = {pair(self._numbers[device], bucket) for device, bucket in cursor if device in self._numbers}
        faults = list(left.rows.faults(found))
        seen = f"{len(found)} rows for {len(left.rows.sure)} pairs, and {len(left.rows.spans)} beats that are unsure"
        if faults:
            return Status.FAIL, f"{seen}; {'; '.join(faults)}"
        # Where most beats are unsure, a match says nothing.
        sure = len(left.rows.sure) > 10 * len(left.rows.spans)
        return Status.PASS if sure else Status.INCONCLUSIVE, seen

    def _counters(self, run: str, left: Left) -> tuple[Status, str]:
        if "process" not in self._target.capabilities:
            return Status.DISABLED, "others may use the deployment: needs NEXMDM_BACKEND_PID"
        metrics = Metrics(self._before, read_metrics(self._client, f"{run}-after"))
        results = ("ingested", "deduplicated")
        grown = {result: metrics.delta("nexmdm_heartbeats_total", result=result) for result in results}
        total = sum(grown.values())
        held = left.answered > 0 and left.answered <= total <= left.answered + left.unanswered
        seen = ", ".join(f"{count:.0f} {result}" for result, count in grown.items())
        return Status.PASS if held else Status.FAIL, f"{seen}; {left.answered} answered with 200"

    def _errors(self) -> tuple[Status, str]:
        if self._log is None:
            return Status.DISABLED, "needs NEXMDM_LOG_FILE"
        lines, errors, first = 0, 0, ""
        with self._log.path.open("rb") as file:
            file.seek(self._mark)
            for line in file:
                lines += 1
                if b"ERROR" in line and json.loads(line).get("level") == "ERROR":
                    errors += 1
                    first = first or str(json.loads(line).get("event"))
        seen = f"{lines} log lines, {errors} of them errors{', the first: ' * bool(first)}{first}"
        if not lines:
            return Status.INCONCLUSIVE, "the log has no line of this run"
        return Status.FAIL if errors else Status.PASS, seen


def answer(name: str, title: str, ask: Callable[[], tuple[Status, str]]) -> Check:
    """A check; whatever keeps it from being asked makes it inconclusive, and spares the others."""
    try:
        return Check(name, title, *ask())
    except Exception as error:  # noqa: BLE001  # a part that is unreadable is reported, whatever broke
        return Check(name, title, Status.INCONCLUSIVE, f"could not be read: {type(error).__name__}: {error}"[:300])
