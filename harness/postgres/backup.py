"""A logical backup as an operator makes it: pg_dump of a live database, pg_restore into an empty one.

It grants nothing and migrates nothing afterwards: that is the operator's part, and what a case looks at.
"""

from __future__ import annotations

from pathlib import Path

from harness.postgres.binaries import install
from harness.postgres.server import PostgresError
from harness.processes.child import bare_environment, run_to_end
from harness.settings import SECRETS

_WITHIN_S = 120.0


def dump(url: str, file: Path) -> None:
    """Write a consistent copy of the database as of now; whoever writes meanwhile is not held up. PostgresError."""
    _run("pg_dump", "--format=custom", "--file", str(file), url)


def restore(file: Path, url: str) -> None:
    """Fill an empty database, as its owner, all or nothing; the rights of other roles are left out. PostgresError."""
    _run("pg_restore", "--no-owner", "--no-privileges", "--single-transaction", "--dbname", url, str(file))


def _run(program: str, *arguments: str) -> None:
    code, said = run_to_end([str(install() / program), *arguments], env=bare_environment({}), within_s=_WITHIN_S)
    if code:
        raise PostgresError(f"{program} ended with exit code {code}: {SECRETS.mask(said.strip()[-2000:])}")
