"""What PostgreSQL itself does of what a backend does with it: pgbench, on the same tables.

Heartbeats are of devices of its own, found by their number, so that a transaction is the two writes of a heartbeat
and nothing else.
"""

from __future__ import annotations

import re

import psycopg

from harness.postgres.binaries import install
from harness.processes.child import bare_environment, run_to_end, workspace
from harness.settings import HarnessError

CLIENTS = 16
_SEED = """
    INSERT INTO devices (device_id, alias, token_hash, agent_version)
    SELECT lpad(to_hex(number), 32, '0')::uuid, 'pgbench-' || number, '$2b$04$' || repeat('x', 53), '1.4.2'
    FROM generate_series(1, %s) AS number
    ON CONFLICT DO NOTHING
"""
_SCRIPT = """
\\set number random(1, %d)
WITH stored AS (
    INSERT INTO device_heartbeats (device_id, bucket, ts, ip, status, battery_pct, plugged, temp_c, network_type,
        signal_dbm, uptime_s, ram_used_mb, unity_pkg_version, unity_running, agent_version)
    VALUES (lpad(to_hex(:number::int), 32, '0')::uuid, date_bin('10 seconds', now(), timestamptz 'epoch'), now(),
        '127.0.0.1', 'ok', 87, true, 31.5, 'wifi', -61, 86400, 2048, '1.2.3', true, '1.4.2')
    ON CONFLICT (device_id, bucket) DO NOTHING
)
INSERT INTO device_status AS s (device_id, last_seen, last_status)
VALUES (lpad(to_hex(:number::int), 32, '0')::uuid, now(), 'ok')
ON CONFLICT (device_id) DO UPDATE
SET last_seen = greatest(s.last_seen, excluded.last_seen), last_status = excluded.last_status;
"""
_TPS = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: (\d+)", re.MULTILINE)


class PgbenchError(HarnessError):
    """pgbench broke, or reported transactions that failed."""


def parse(said: str) -> float:
    """Transactions a second. PgbenchError for a report without them, or with failed ones."""
    tps, failed = _TPS.search(said), _FAILED.search(said)
    if tps is None or failed is None or int(failed[1]):
        raise PgbenchError(f"pgbench: {said.strip()[:300]}")
    return float(tps[1])


class Pgbench:
    """Rounds of pgbench on one database."""

    def __init__(self, database_url: str, script: str, clients: int = CLIENTS) -> None:
        """script: a transaction."""
        self._url, self._clients = database_url, clients
        self._script = workspace("pgbench") / "script.sql"
        self._script.write_text(script, encoding="utf-8")

    def round(self, duration_s: int) -> float:
        """Transactions a second, prepared statements, over so many whole seconds."""
        threads = min(2, self._clients)
        options = ["-n", "-M", "prepared", "-c", str(self._clients), "-j", str(threads), "-T", str(duration_s)]
        argv = [str(install() / "pgbench"), *options, "-f", str(self._script), self._url]
        code, said = run_to_end(argv, env=bare_environment({}), within_s=duration_s + 30)
        if code:
            raise PgbenchError(f"pgbench ended with exit code {code}: {said.strip()[:300]}")
        return parse(said)


def heartbeats(database_url: str, devices: int) -> Pgbench:
    """Single heartbeats. devices: to draw from, so many that a round seldom meets one twice. psycopg.Error."""
    with psycopg.connect(database_url) as connection:
        connection.execute(_SEED, (devices,))
    return Pgbench(database_url, _SCRIPT % devices)
