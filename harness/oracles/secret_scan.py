"""Looks for secrets where none may be: in log lines, in the tables of the service, in the files that a run leaves.

A secret is what has the shape of an issued token or of a private key, and every value that the run itself knows
(settings.SECRETS). It repeats none: a finding names the place only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

ISSUED: Final = re.compile("nx(?:e|k|d_[0-9a-f]{32})_([A-Za-z0-9_-]{43})([A-Za-z0-9_-]{11})?")
_SHAPES: Final = re.compile(f"{ISSUED.pattern}|-----BEGIN [A-Z ]*PRIVATE KEY")
_LONG_WORD: Final = re.compile("[A-Za-z0-9_-]{43,}")
_SHORTEST: Final = 8  # a shorter value would be found in ordinary text


class Search:
    """What to look for: the shapes of tokens and keys, and these values."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {secret for secret in secrets if len(secret) >= _SHORTEST}
        # The random part alone is as good as the token: the rest of it is no secret.
        self._random = {match[1] for secret in known if (match := ISSUED.fullmatch(secret))}
        self._values = [secret for secret in known if not ISSUED.fullmatch(secret)]

    def text(self, text: str) -> list[str]:
        """The lines that hold a secret."""
        return [
            f"line {number}: {_SHAPES.sub('[secret]', line)[:200] if _SHAPES.search(line) else 'a known secret'}"
            for number, line in enumerate(text.splitlines(), 1)
            if self._hit(line)
        ]

    def tables(self, connection: psycopg.Connection[Any]) -> list[str]:
        """The tables of which a row holds a secret, and in how many rows."""
        names = connection.execute(
            "select c.relname from pg_class c where c.relkind in ('r', 'p') and not c.relispartition"
            " and c.relnamespace = 'public'::regnamespace order by 1"
        ).fetchall()
        counted = ((name, sum(map(self._hit, _rows(connection, name)))) for (name,) in names)
        return [f"table {name}: a secret in clear in {count} rows" for name, count in counted if count]

    def files(self, folder: Path) -> list[str]:
        """The files below the folder that hold a secret, with the lines."""
        return [
            f"{path.relative_to(folder)}: {found}"
            for path in sorted(folder.rglob("*"))
            if path.is_file()
            for found in self.text(path.read_text(encoding="utf-8", errors="replace"))
        ]

    def _hit(self, line: str) -> bool:
        return (
            _SHAPES.search(line) is not None
            or any(value in line for value in self._values)
            or any(_parts(word) & self._random for word in _LONG_WORD.findall(line))
        )


def _parts(word: str) -> set[str]:
    """Where the random part of a token stands in a word: at its end, or before the 11 characters of a ticket."""
    return {word[-43:], word[-54:-11]}


def _rows(connection: psycopg.Connection[Any], table: str) -> Iterator[str]:
    query = sql.SQL("select t::text from {} t").format(sql.Identifier(table))
    return (text for (text,) in connection.execute(query))
