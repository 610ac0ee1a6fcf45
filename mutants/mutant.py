"""The catalogue: what each mutant breaks, by which change of the backend's text, and what must notice.

It runs nothing. A mutant is data (catalogue/<service>/*.toml), so the product needs no switch for it:

    [[mutant]]
    id = "heartbeat/no-dedupe"                      # noun/what, unique
    breaks = "three heartbeats in a bucket are three rows"
    operation = ["recordHeartbeat"]                 # operationIds of openapi.yaml; may be left out
    row = "idempotency"                             # of seed 000's test matrix: one of ROWS
    caught_by = "heartbeat/002"                     # a case; for another suite the id of its check or limit
    suite = "acceptance"                            # may be left out
    file = "fleet/heartbeat_writer.py"              # below the package nexmdm
    old = '''...'''                                 # stands in the file exactly once
    new = '''...'''
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mutants.suites import NAMES

SOURCES: Final = Path(__file__).resolve().parents[1] / "backend" / "src" / "nexmdm"
CATALOGUE: Final = Path(__file__).with_name("catalogue")
ROWS: Final = ("200", "401", "403", "404", "409", "422", "429", "5xx", "idempotency", "observability", "latency")
_WANTED: Final = {"id", "breaks", "row", "caught_by", "file", "old", "new"}
_ALLOWED: Final = _WANTED | {"operation", "suite"}


class CatalogueError(Exception):
    """The catalogue is not usable. The message names the mutant, and says what to mend."""


@dataclass(frozen=True)
class Mutant:
    """One deliberate mutant. `caught_by` is the id of the check in the suite's result.json that must fail."""

    id: str
    breaks: str
    row: str
    caught_by: str
    file: str
    old: str
    new: str
    operation: tuple[str, ...] = ()
    suite: str = "acceptance"

    def changed(self, package: Path) -> str:
        """The text of its file with the mistake in it. CatalogueError where the mutant does not fit the package."""
        path = package / self.file
        if not path.is_file():
            raise CatalogueError(f"{self.id}: the backend has no {self.file}")
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise CatalogueError(f"{self.id}: `old` stands {text.count(self.old)} times in {self.file}, not once")
        changed = text.replace(self.old, self.new)
        if path.suffix == ".py":
            try:
                compile(changed, self.file, "exec")
            except SyntaxError as error:
                raise CatalogueError(f"{self.id}: the changed {self.file} is no Python: {error}") from None
        return changed

    def apply(self, package: Path) -> None:
        """Change a copy of the package. CatalogueError where the mutant does not fit it."""
        (package / self.file).write_text(self.changed(package), encoding="utf-8")


def _mutant(entry: dict[str, Any], source: str) -> Mutant:
    name = entry.get("id", f"a mutant of {source} without an id")
    if missing := sorted(_WANTED - entry.keys()):
        raise CatalogueError(f"{name}: without {', '.join(missing)}")
    if unknown := sorted(entry.keys() - _ALLOWED):
        raise CatalogueError(f"{name}: unknown {', '.join(unknown)}")
    if entry["row"] not in ROWS:
        raise CatalogueError(f"{name}: row is one of {', '.join(ROWS)}")
    if entry.get("suite", "acceptance") not in NAMES:
        raise CatalogueError(f"{name}: suite is one of {', '.join(NAMES)}")
    if entry["old"] == entry["new"]:
        raise CatalogueError(f"{name}: changes nothing")
    return Mutant(**{**entry, "operation": tuple(entry.get("operation", ()))})


def read(folder: Path = CATALOGUE) -> list[Mutant]:
    """Every mutant, by file and order. CatalogueError for one that is not as it should be, or stands twice."""
    mutants: list[Mutant] = []
    for path in sorted(folder.rglob("*.toml")):
        try:
            entries = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
        except (tomllib.TOMLDecodeError, KeyError) as error:
            raise CatalogueError(f"{path.name}: {error}") from None
        mutants += (_mutant(entry, path.name) for entry in entries)
    if not mutants:
        raise CatalogueError("the catalogue is empty")
    _unique(mutants)
    return mutants


def misfits(mutants: Iterable[Mutant], package: Path) -> list[str]:
    """What is wrong with each mutant that does not fit the package."""
    found: list[str] = []
    for mutant in mutants:
        try:
            mutant.changed(package)
        except CatalogueError as error:
            found.append(str(error))
    return found


def _unique(mutants: Iterable[Mutant]) -> None:
    seen: set[str] = set()
    for mutant in mutants:
        if mutant.id in seen:
            raise CatalogueError(f"{mutant.id} stands twice")
        seen.add(mutant.id)
