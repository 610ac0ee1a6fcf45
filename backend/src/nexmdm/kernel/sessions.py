"""The one way to open a connection to PostgreSQL. It knows no table.

What we rely on is set for each session: a database or a role may have other defaults (ALTER DATABASE .. SET). Two are
left to who runs the server: default_transaction_read_only, the brake of an operator or of a provider whose disk is full
(writes are then 503), and a synchronous_commit that waits for more than our own server's disk.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from nexmdm.kernel import database_url

CONNECT_TIMEOUT_S: Final = 3.0

_SESSION: Final = {
    "default_transaction_isolation": "read committed",  # locks and constraints decide races, and the loser reads again
    # Each wait has a limit on our side. A listener idles, a migration takes as long as it takes.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "search_path": "public",
    "timezone": "UTC",  # current_date is a day of UTC
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "jit": "off",  # compiling a short statement takes longer than running it
    "max_parallel_workers_per_gather": "0",  # a count of many rows holds up one core, and takes a third of the work
}
# Durable before answered; and what servers before 17 do not know, and would refuse at the start of a session.
_SET_THE_REST: Final = """
    SELECT set_config(name, CASE name WHEN 'synchronous_commit' THEN 'on' ELSE '0' END, false) FROM pg_settings
    WHERE name = 'synchronous_commit' AND setting = 'off' OR name = 'transaction_timeout'
"""


async def connect(url: str, statement_timeout_s: float | None = None) -> asyncpg.Connection[Any]:
    """A new connection; whoever calls this owns it.

    Raises:
        OSError: there is no connection to be had; `filename` names the server.
    """
    try:
        connection: asyncpg.Connection[Any] = await asyncpg.connect(
            url, timeout=CONNECT_TIMEOUT_S, command_timeout=statement_timeout_s, server_settings=_SESSION
        )
    except OSError as error:
        error.filename = database_url.server(url)
        raise
    try:
        await connection.execute(_SET_THE_REST, timeout=CONNECT_TIMEOUT_S)
    except BaseException:
        connection.terminate()
        raise
    return connection
