"""What a case may see of PostgreSQL: read-only SQL by documented names, and a digest of every table.

Does not write: a role and a session that cannot; fresh.Fresh.write is the one place that can.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

# What moves without a request: the rate limiter counts refusals on purpose, schedules note their own runs.
NOT_DIGESTED = ("rate_limits", "scheduled_jobs", "job_runs", "sync_runs")


class Database:
    """A lasting read-only session; connects again after an outage."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection: psycopg.Connection[dict[str, Any]] | None = None

    def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self.url, autocommit=True, row_factory=dict_row, options="-c default_transaction_read_only=on"
            )
        return self._connection.execute(sql.encode(), values or None).fetchall()

    def row(self, sql: str, *values: object) -> dict[str, Any]:
        """The one row that the query finds; none or several are a failure."""
        found = self.rows(sql, *values)
        assert len(found) == 1, f"{len(found)} rows instead of one for: {sql} {values}"
        return found[0]

    def value(self, sql: str, *values: object) -> Any:
        return next(iter(self.row(sql, *values).values()))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def tables(self) -> list[str]:
        """Every table of the service; a partitioned one stands for its partitions."""
        return [
            row["name"]
            for row in self.rows(
                "select c.oid::regclass::text as name from pg_class c where c.relkind in ('r', 'p')"
                " and not c.relispartition and c.relnamespace = 'public'::regnamespace order by 1"
            )
        ]

    def digest(self) -> dict[str, str]:
        """Rows and contents of every table, as text that changes when any row does."""
        hidden = self.rows("select relname from pg_class where relkind in ('r', 'p') and row_security_active(oid)")
        assert not hidden, f"this session does not see every row: {hidden}"
        digest = "select count(*) || ' rows ' || coalesce(md5(string_agg(h, '' order by h)), '-') from"
        return {
            table: self.value(f"{digest} (select md5(t::text) as h from {table} t) s")  # noqa: S608 - from the catalogue
            for table in self.tables()
            if table not in NOT_DIGESTED
        }

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Fails when any row of any table is another after the block: a refusal changes nothing."""
        before = self.digest()
        yield
        after = self.digest()
        changed = [
            f"{table}: {before.get(table)} -> {after.get(table)}"
            for table in sorted(before.keys() | after.keys())
            if before.get(table) != after.get(table)
        ]
        assert not changed, "rows changed where nothing may:\n  " + "\n  ".join(changed)
