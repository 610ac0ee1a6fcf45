"""What the size of the data costs: heartbeats beside ten million rows, dropping a day of them, an empty migration.

It fills the tables behind the backend's back: at 833 a second ten million heartbeats are three hours.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any, Final

import psycopg

from bench import steady
from bench.rig import HEARTBEAT, Rig, Void, listed, median_ratio
from bench.wrk import Wrk
from harness.devices.seeded_fleet import seed
from harness.postgres.server import Postgres
from harness.stack.backend import migrate
from harness.stack.stack import Stack
from harness.verdict.thresholds import Judgement, Limit, Status, percentile
from harness.waiting import eventually

_RATE = 200.0
_BEATING = 2_500  # more than ten seconds' worth: no beat is a duplicate
_FILLERS = 1_158  # x 8,640 periods of ten seconds a day: ten million rows
_ROWS = _FILLERS * 8_640

FULL_TO_EMPTY: Final = Limit(
    "heartbeat p95, 10 million rows / empty table",
    "",
    "<=",
    1.2,
    source=f"open loop, {_RATE:g} heartbeats/s; median of interleaved pairs",
)
DROP: Final = Limit("retention drops a day of 10 million", "s", "<", 1, 1, 1.0, source="log: retention.cleanup")
MEANWHILE: Final = Limit(
    "slowest heartbeat meanwhile", "ms", "<", 50, 50, 1.0, source=f"open loop, {_RATE:g} heartbeats/s, until 1 s after"
)
MIGRATION: Final = Limit(
    "migration of an empty database", "s", "<", 3, 1, 1.0, source="`nexmdm migrate`, wall, slowest"
)
RETENTION: Final = Limit(
    "retention run, small data", "s", "<", 1, 1, 1.0, source="`nexmdm retention run`, wall, slowest"
)

_FILL: Final = """
    INSERT INTO device_heartbeats (device_id, bucket, ts, ip, status, battery_pct, plugged, temp_c, network_type,
        signal_dbm, uptime_s, ram_used_mb, unity_pkg_version, unity_running, agent_version)
    SELECT device_id, bucket, bucket, '127.0.0.1', 'ok', 87, true, 31.5, 'wifi',
        -61, 86400, 2048, '1.2.3', true, '1.4.2'
    FROM generate_series(%(day)s::timestamptz, %(day)s::timestamptz + interval '86390 s', interval '10 s') AS bucket,
        unnest(%(devices)s::uuid[]) AS device_id
"""


def _fill(rig: Rig, stack: Stack, days_ago: int) -> None:
    """A whole day of ten million heartbeats, in the order in which a fleet would have sent them."""
    url = stack.target.database_url or ""
    devices = [device.device_id for device in seed(url, _FILLERS)]
    begun = time.monotonic()
    with psycopg.connect(url) as connection:
        connection.execute("SET timezone = 'UTC'")
        connection.execute("SET session_replication_role = replica")  # no look-up of the device for each row
        found = connection.execute("SELECT (current_date - %s::int)::text", (days_ago,)).fetchone()
        day = found[0] if found else ""
        connection.execute("SELECT nexmdm_ensure_heartbeat_partitions(%s::date, %s::date)", (day, day))
        rows = connection.execute(_FILL, {"day": day, "devices": devices}).rowcount
    rig.execute("ANALYZE device_heartbeats", database_url=url)
    # Else the writing-back of these rows, and not their number, would be measured.
    rig.execute("CHECKPOINT", database_url=url)
    rig.say(f"storage: {rows} rows on {day} in {time.monotonic() - begun:.0f} s")
    if rows != _ROWS:
        raise Void(f"{rows} rows were stored, not {_ROWS}")


def size(rig: Rig) -> list[Judgement]:
    """The same beats to a backend on an empty table and to one on ten million rows of today."""
    plan = rig.plan
    p95: dict[str, list[float]] = {"empty": [], "full": []}
    with rig.another_stack() as empty, rig.another_stack() as full:
        _fill(rig, full, days_ago=0)
        stacks = {"empty": empty, "full": full}
        tokens = {name: _warm(stack) for name, stack in stacks.items()}
        with rig.meter(empty=empty.backend.pid, full=full.backend.pid) as meter:
            for _ in range(plan.rounds):
                for name, stack in stacks.items():
                    beats = _beats(stack, tokens[name], 2 * plan.round_s)
                    if why := steady.trouble(beats):
                        raise Void(why)
                    p95[name].append(percentile(steady.latencies_ms(beats), 0.95))
        rig.facts["storage: CPUs"] = str(meter)
        return [FULL_TO_EMPTY.judge_value(_ratio(rig, p95), plan.rounds)]


def _ratio(rig: Rig, p95: dict[str, list[float]]) -> float:
    for name, seen in p95.items():
        rig.facts[f"storage: heartbeat p95 ms, {name} table"] = listed(seen)
    return median_ratio(p95["full"], p95["empty"])


def _warm(stack: Stack) -> list[str]:
    tokens = [device.token for device in seed(stack.target.database_url or "", _BEATING)]
    Wrk(tokens).warm(stack.target.base_url + HEARTBEAT)
    return tokens


def _beats(stack: Stack, tokens: list[str], duration_s: float) -> list[steady.Beat]:
    return steady.send(stack.target.base_url + HEARTBEAT, tokens, _RATE, duration_s)


def drop(rig: Rig) -> list[Judgement]:
    """Retention on a day of ten million heartbeats that is past its period, while others arrive."""
    with rig.another_stack() as stack:
        tokens = _warm(stack)
        _fill(rig, stack, days_ago=3)
        run = _RetentionRun(stack)
        beats: list[steady.Beat] = []
        timer = threading.Timer(3.0, run.start)
        timer.start()
        try:
            beats = _beats(stack, tokens, 10.0)
        finally:
            timer.join()
            run.wait()
        meanwhile = [beat for beat in beats if run.began <= beat.answered and beat.intended <= run.ended + 1.0]
        seconds = [line["latency_ms"] / 1000 for line in run.lines("retention.cleanup") if line["deleted"] > 0]
        rig.facts["storage: rows dropped"] = sum(line["deleted"] for line in run.lines("retention.cleanup"))
        rig.facts["storage: dropping, whole command, s"] = round(run.ended - run.began, 3)
        rig.facts["storage: heartbeats meanwhile, p50 p95 ms"] = listed(
            [percentile(steady.latencies_ms(meanwhile), q) for q in (0.5, 0.95)]
        )
        slowest = MEANWHILE.judge(steady.latencies_ms(meanwhile))
        if slowest.status is Status.FAIL and (why := steady.trouble(meanwhile)):
            slowest = slowest.voided(why)  # a pass has the generator's own delay in it, and is all the better for it
        return [DROP.judge(seconds), slowest]


class _RetentionRun(threading.Thread):
    """`nexmdm retention run`, beside whatever else is done; what it said."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self._stack = stack
        self._said = ""
        self.began = self.ended = 0.0
        self._code: int | None = None

    def run(self) -> None:
        self.began = time.time()
        self._code, self._said = self._stack.run("retention", "run")
        self.ended = time.time()

    def wait(self) -> None:
        """Void unless it ended well."""
        eventually(lambda: self._code is not None, 60.0, what="the end of the retention run")
        if self._code:
            raise Void(f"retention run ended with exit code {self._code}: {self._said[-300:]}")

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Its log lines of this event."""
        lines = [json.loads(line) for line in self._said.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event and line.get("entity") == "device_heartbeats"]


def small(rig: Rig) -> list[Judgement]:
    """The two commands that an operator waits for, from their start to their end."""
    migrations, runs = [], []
    with Postgres.attach(rig.stack.postgres.admin_url) as server:  # without the template: its databases are empty
        for number in range(rig.plan.repeats):
            url = server.clone(f"bench_empty_{number}")
            begun = time.monotonic()
            migrate(rig.stack.command, url)
            migrations.append(time.monotonic() - begun)
            begun = time.monotonic()
            code, said = rig.stack.run("retention", "run", env={"NEXMDM_DATABASE_URL": url})
            runs.append(time.monotonic() - begun)
            if code:
                raise Void(f"retention run ended with exit code {code}: {said[-300:]}")
    rig.facts["storage: empty migrations, s"] = listed(migrations)
    rig.facts["storage: small retention runs, s"] = listed(runs)
    return [MIGRATION.judge(migrations), RETENTION.judge(runs)]
