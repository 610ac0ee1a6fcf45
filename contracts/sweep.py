"""What the fuzzed service left behind: every log line as its schema says, no secret in log, tables or report files.

It judges no answer. What the target does not show is disabled, never passed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg

from harness.oracles import log_schemas
from harness.oracles.log_tail import LogTap
from harness.oracles.secret_scan import Search
from harness.settings import SECRETS, Target
from harness.verdict.thresholds import Check, Status


class Sweep:
    """Made before the run, so that it knows where its part of the log begins."""

    def __init__(self, target: Target | None, folder: Path) -> None:
        self._target, self._folder = target, folder
        self._log = LogTap(target.log_file) if target and target.log_file else None
        self._mark = self._log.mark() if self._log else 0

    def checks(self) -> list[Check]:
        """After the run, and after its files were scrubbed."""
        if self._target is None:
            return []
        search, log, url = Search(SECRETS.known()), self._log, self._target.database_url

        def lines() -> tuple[int, list[str]]:
            assert log is not None
            found = log.since(self._mark)
            return len(found), list(log_schemas.judge(found))

        def log_secrets() -> tuple[int, list[str]]:
            assert log is not None
            text = log.path.read_bytes()[self._mark :].decode(errors="replace")
            return text.count("\n"), search.text(text)

        def tables() -> tuple[int, list[str]]:
            assert url is not None
            with psycopg.connect(url) as connection:
                return 1, search.tables(connection)

        def files() -> tuple[int, list[str]]:
            return sum(path.is_file() for path in self._folder.rglob("*")), search.files(self._folder)

        no_log, no_database = "needs NEXMDM_LOG_FILE", "needs DATABASE_URL"
        return [
            _check("log-lines", "every log line is as its schema says", "lines", lines, "" if log else no_log),
            _check("log-secrets", "no token and no key in the log", "lines", log_secrets, "" if log else no_log),
            _check("table-secrets", "no token and no key in a table", "database", tables, "" if url else no_database),
            _check("file-secrets", "no token and no key in a file of this run", "files", files),
        ]


def _check(name: str, title: str, unit: str, look: Callable[[], tuple[int, list[str]]], not_given: str = "") -> Check:
    if not_given:
        return Check(name, title, Status.DISABLED, not_given)
    seen, faults = look()
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        return Check(name, title, Status.FAIL, SECRETS.mask("; ".join(faults[:3]) + more)[:600])
    # Nothing to look through is no proof of anything.
    return Check(name, title, Status.PASS if seen else Status.INCONCLUSIVE, f"{seen} {unit}")
