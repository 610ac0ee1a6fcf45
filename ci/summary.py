"""One page about a whole run: `python -m ci.summary [ARTIFACTS]` leaves it as summary.md.

It judges nothing: it repeats what nox (nox.json), the test reports (junit.xml) and the suites'
own summaries say. On GitHub it also becomes the summary of the step. A log is read from its end: what is printed
has the suites that did not pass alone, and ends with the names of what failed.
"""

from __future__ import annotations

import json
import os
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from ci import budgets

_REPORTS = ("nox.json", "nox-full.json")  # of `nox -s tests` and of `nox -s full`
_COUNTS = ("tests", "failures", "errors", "skipped")
_PASSED = "# ✅ "  # how harness/verdict/artifacts.py begins it
_MESSAGE_CHARACTERS = 300


def sessions(folder: Path) -> list[str]:
    """A table of nox's sessions."""
    reports: list[dict[str, Any]] = [
        json.loads(path.read_text()) for name in _REPORTS if (path := folder / name).exists()
    ]
    if not reports:
        return ["No session was reported.", ""]
    rows = (
        f"| {each.get('name')} | {each.get('result')} | {float(each.get('duration') or 0):.0f} |"
        for report in reports
        for each in report.get("sessions", [])
    )
    return ["| session | result | seconds |", "|---|---|---:|", *rows, ""]


def times(folder: Path) -> list[str]:
    """What the suites with a budget took."""
    rows = [
        f"| {took.suite} | {took.wall_s:.0f} | {took.budget_s} | {'**over**' if took.over else 'ok'} |"
        for took in budgets.read(folder)
    ]
    return ["| suite | seconds | budget | |", "|---|---:|---:|---|", *rows, ""] if rows else []


def test_reports(folder: Path) -> list[str]:
    """A table of the JUnit reports, and what failed, with the beginning of its message."""
    lines = ["| tests | run | failed | errors | skipped | seconds |", "|---|---:|---:|---:|---:|---:|"]
    failed: list[str] = []
    for path in sorted(folder.glob("*/junit.xml")):
        suites = list(ET.parse(path).getroot().iter("testsuite"))  # noqa: S314 - our own file
        counts = [sum(int(suite.get(name, "0")) for suite in suites) for name in _COUNTS]
        seconds = sum(float(suite.get("time", "0")) for suite in suites)
        lines.append(f"| {path.parent.name} | {' | '.join(map(str, counts))} | {seconds:.0f} |")
        failed += (
            f"- {path.parent.name}: {case.get('classname')}::{case.get('name')}: {_beginning(wrong)}"
            for suite in suites
            for case in suite.iter("testcase")
            for wrong in [*case.findall("failure"), *case.findall("error")]
        )
    return [*lines, "", *(["Failed:", "", *failed, ""] if failed else [])]


def _beginning(wrong: ET.Element) -> str:
    return " ".join((wrong.get("message") or "").split())[:_MESSAGE_CHARACTERS]


def suite_summaries(folder: Path) -> dict[str, str]:
    """What the suites wrote about themselves."""
    return {path.parent.name: path.read_text().strip() for path in sorted(folder.glob("*/summary.md"))}


def main(arguments: list[str]) -> int:
    """Write the page, publish it, and print what is asked first."""
    folder = Path(arguments[0] if arguments else "artifacts")
    tables = "\n".join([*sessions(folder), *times(folder), *test_reports(folder)])
    suites = suite_summaries(folder)
    page = "\n\n".join(["# Test run", tables, *(f"<!-- {name} -->\n{text}" for name, text in suites.items())]) + "\n"
    (folder / "summary.md").write_text(page)
    print("\n\n".join([*(text for text in suites.values() if not text.startswith(_PASSED)), tables]))
    if step := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(step).open("a") as file:
            file.write(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
