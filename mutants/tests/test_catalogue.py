"""The real catalogue fits the backend and covers the contract; a catalogue with a mistake is refused.

Whether each mutant is caught is what `nox -s mutants` shows.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.verdict.artifacts import SCHEMAS
from mutants.mutant import ROWS, SOURCES, CatalogueError, Mutant, misfits, read
from mutants.suites import NAMES

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = read()
ENTRY = {
    "id": '"noun/what"',
    "breaks": '"it breaks"',
    "row": '"200"',
    "caught_by": '"noun/001"',
    "file": '"a.py"',
    "old": '"1"',
    "new": '"2"',
}


def test_there_are_enough_of_them() -> None:
    assert len(MUTANTS) >= 60


def test_each_fits_the_backend_as_it_is() -> None:
    assert misfits(MUTANTS, SOURCES) == []


def test_the_schema_of_findings_names_each_suite() -> None:
    schema = json.loads((SCHEMAS / "mutants.schema.json").read_text())
    assert schema["properties"]["mutants"]["items"]["properties"]["suite"]["enum"] == [*NAMES]


def test_a_misfit_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    fits = Mutant("a/fits", "it breaks", "200", "a/001", "a.py", "1", "2")
    others = [
        replace(fits, id="a/stale", old="3"),
        replace(fits, id="a/broken", new="("),
        replace(fits, id="a/gone", file="b.py"),
    ]
    found = misfits([fits, *others], tmp_path)
    assert [line.partition(":")[0] for line in found] == ["a/stale", "a/broken", "a/gone"]


def test_each_names_a_case_that_there_is() -> None:
    listed = (ROOT / "docs" / "cases.md").read_text(encoding="utf-8")  # `nox -s lint` keeps it equal to the cases
    there = {"sweep", *re.findall(r"^\| `(.+?)`", listed, flags=re.MULTILINE)}
    named = {mutant.id: mutant.caught_by for mutant in MUTANTS if mutant.suite in ("acceptance", "chaos")}
    assert {name: case for name, case in named.items() if case not in there} == {}


def test_every_operation_and_every_row_of_the_matrix_has_one() -> None:
    operations = set(re.findall(r"operationId: (\w+)", (ROOT / "openapi.yaml").read_text()))
    assert operations - {name for mutant in MUTANTS for name in mutant.operation} == set()
    assert {name for mutant in MUTANTS for name in mutant.operation} - operations == set(), "no such operation"
    assert set(ROWS) - {mutant.row for mutant in MUTANTS} == set()


@pytest.mark.parametrize(
    "change,said",
    [
        ({"breaks": None}, "without breaks"),
        ({"colour": '"red"'}, "unknown colour"),
        ({"row": '"201"'}, "row is one of"),
        ({"suite": '"unit"'}, "suite is one of"),
        ({"new": '"1"'}, "changes nothing"),
        ({"id": "noun"}, "catalogue.toml"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_in_the_catalogue_is_named(change: dict[str, str | None], said: str, tmp_path: Path) -> None:
    lines = [f"{name} = {value}" for name, value in {**ENTRY, **change}.items() if value is not None]
    (tmp_path / "catalogue.toml").write_text("\n".join(["[[mutant]]", *lines]))
    with pytest.raises(CatalogueError, match=said):
        read(tmp_path)


def test_an_id_stands_once_and_an_empty_catalogue_is_none(tmp_path: Path) -> None:
    entry = "\n".join(["[[mutant]]", *(f"{name} = {value}" for name, value in ENTRY.items())])
    (tmp_path / "catalogue.toml").write_text(f"{entry}\n{entry}")
    with pytest.raises(CatalogueError, match="stands twice"):
        read(tmp_path)
    (tmp_path / "catalogue.toml").unlink()
    with pytest.raises(CatalogueError, match="empty"):
        read(tmp_path)


@pytest.mark.parametrize("text", ["x = 2\n", "x = 1\ny = 1\n"], ids=["not there", "there twice"])
def test_a_fault_that_no_longer_fits_is_stale_and_changes_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(text)
    with pytest.raises(CatalogueError, match="not once"):
        Mutant("noun/what", "it breaks", "200", "noun/001", "a.py", "= 1", "= 3").apply(tmp_path)
    assert (tmp_path / "a.py").read_text() == text


def test_a_fault_that_is_no_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    with pytest.raises(CatalogueError, match="no Python"):
        Mutant("noun/what", "it breaks", "200", "noun/001", "a.py", "= 1", "= (").apply(tmp_path)
