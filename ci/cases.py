"""docs/cases.md: every acceptance case with its requirement, read from the sources. `python -m ci.cases [--check]`.

It imports no case: ids and first docstring lines stand in the syntax tree.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
ACCEPTANCE: Final = ROOT / "acceptance"
PAGE: Final = ROOT / "docs" / "cases.md"
_HEAD: Final = """# The acceptance cases

Each proves one requirement; what stands in brackets is where it comes from: a seed document (000 A: its test matrix) or
`api.md`. One alone: `nox -s acceptance -- --case register/004`; in `chaos/`: `nox -s chaos -- --case chaos/004`.

A case that is called slow runs in `nox -s full`, and whenever it is asked for by its id or its file.

This page is generated from the cases: `python -m ci.cases` writes it, `nox -s lint` checks it.
"""
_SLOW: Final = " slow"


class Listed(NamedTuple):
    case_id: str
    requirement: str
    slow: bool


def cases(source: str) -> Iterator[Listed]:
    """The cases of one file, in its order."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "case":
                    first_line = (ast.get_docstring(node) or "").partition("\n")[0]
                    slow = any(keyword.arg == "slow" for keyword in mark.keywords)
                    yield Listed(ast.literal_eval(mark.args[0]), first_line, slow)


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    """The files of cases, without the tests of the suite's own helpers."""
    for folder in folders:
        yield from (path for path in sorted(folder.rglob("test_*.py")) if "tests" not in path.relative_to(folder).parts)


def page(*folders: Path) -> str:
    """The whole page: a section per file, headed by the first sentence of its docstring. No folders: of all cases."""
    sections, total = [], 0
    for path in _files(folders or (ACCEPTANCE,)):
        source = path.read_text(encoding="utf-8")
        found = sorted(cases(source))
        total += len(found)
        title = (ast.get_docstring(ast.parse(source)) or path.stem).partition("\n")[0].rstrip(".")
        rows = [f"| `{one.case_id}`{_SLOW * one.slow} | {one.requirement.replace('|', '/')} |" for one in found]
        name = path.relative_to(ROOT / "acceptance") if path.is_relative_to(ROOT) else path.name
        sections += ["", f"## [{name}](../acceptance/{name})", "", f"{title}.", ""]
        sections += ["| case | requirement |", "|---|---|", *rows]
    return "\n".join([_HEAD, f"{total} cases.", *sections]) + "\n"


def ids(text: str, *, slow: bool = True) -> set[str]:
    """The case ids that a page lists; slow=False: without those that a plain run leaves out."""
    found = re.findall(r"^\| `([a-z-]+/[0-9]{3})`( slow)? \|", text, flags=re.MULTILINE)
    return {case_id for case_id, mark in found if slow or not mark}


def main(arguments: list[str]) -> int:
    if "--check" not in arguments:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        print("docs/cases.md is not what the cases say: run `python -m ci.cases`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
