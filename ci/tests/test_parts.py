"""The parts of `nox -s full` are all of it, and a part that there is not is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ci import parts
from ci.environments import ROOT
from ci.tests.commands import run

SLOW = "acceptance-slow"


def cases_of(arguments: tuple[str, ...]) -> set[Path]:
    """The files of cases that a part of the slow ones runs."""
    ignored = {ROOT / argument.removeprefix("--ignore=") for argument in arguments if argument.startswith("--ignore=")}
    folders = [ROOT / argument for argument in arguments if not argument.startswith("-")] or [ROOT / "acceptance"]
    found = {file for folder in folders for file in folder.rglob("test_*.py")}
    return {file for file in found if not ignored & {*file.parents}}


def test_each_slow_case_is_in_one_part() -> None:
    seen = [file for part in parts.PARTS if SLOW in part for file in cases_of(part[SLOW])]
    assert set(seen) == cases_of(())
    assert max(Counter(seen).values()) == 1


def test_all_is_each_session_of_each_part() -> None:
    every = parts.chosen([])
    assert set(every) == {name for part in parts.PARTS for name in part}
    assert every[SLOW] == ()
    assert [parts.chosen(["--part", f"{number}/5"]) for number in (1, 2, 3, 4, 5)] == list(parts.PARTS)


@pytest.mark.slow
def test_a_part_that_there_is_not_proves_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, {}, "full", "--part", "6/5")
    assert done.code == 2
    assert "invalid choice: '6/5'" in done.said[-1]
