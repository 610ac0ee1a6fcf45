"""What a run leaves behind: matrix.json (operation x answer x case), result.json, summary.md, acceptance.* log lines.

Does not decide whether a case passed: pytest does; this module only counts.
"""

import json
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from acceptance.suite.case import DISABLED
from acceptance.system.openapi import Contract
from harness.verdict.artifacts import Envelope, write_json, write_result
from harness.verdict.thresholds import Check, Judgement, Status, Verdict, judge

# A case keeps the worst outcome among its parameter sets.
SEVERITY = {"passed": 0, "disabled": 1, "skipped": 2, "failed": 3}


@dataclass
class CaseResult:
    case_id: str
    requirement: str
    test: str
    declared: tuple[str, ...] = ()
    outcome: str = "passed"
    reason: str = ""
    duration_ms: float = 0.0
    tests: int = 0
    seen: set[tuple[str, str]] = field(default_factory=set)

    @property
    def proved(self) -> set[tuple[str, str]]:
        """The (operation, answer) that it declares and has seen."""
        return {pair for pair in self.seen for one in self.declared if _covers(one, pair)}

    @property
    def unseen(self) -> list[str]:
        """What it declares and has not seen: after a whole run, a claim without a proof."""
        return [one for one in self.declared if not any(_covers(one, pair) for pair in self.seen)]


def _covers(declared: str, pair: tuple[str, str]) -> bool:
    operation, _, answer = declared.partition(" ")
    return operation in ("*", pair[0]) and answer == pair[1]


def outcome(report: pytest.TestReport) -> tuple[str, str]:
    """passed, failed, skipped or disabled, and why where it did not pass."""
    if report.skipped:
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        return ("disabled" if reason.startswith(DISABLED) else "skipped"), reason
    if report.failed:
        return "failed", f"during {report.when}: {dict(report.user_properties).get('why', '')}"
    return "passed", ""


RESULTS = pytest.StashKey["Results"]()


class Results:
    """Collects the reports of all workers by case; a pytest plugin by its one hook."""

    def __init__(self, started_at: float, suite: str = "acceptance") -> None:
        self.started_at, self.suite = started_at, suite
        # What a suite adds to its cases: limits, files beside result.json, tables of summary.md.
        self.judgements: list[Judgement] = []
        self.files = ["junit.xml", "log.jsonl"]
        self.tables: list[str] = []
        self.cases: dict[str, CaseResult] = {}
        self.complaints: list[str] = []
        self.seed: int | None = None  # of the order: `-- --randomly-seed=N` gives the same again
        self.starts_s: list[float] = []  # of each system that the run started

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = dict(report.user_properties)
        if "case" not in told:
            return
        case_id, test = str(told["case"]), report.nodeid.partition("[")[0]
        declared = tuple(filter(None, str(told.get("proves", "")).split(", ")))
        found = self.cases.setdefault(case_id, CaseResult(case_id, str(told["requirement"]), test, declared))
        verdict, reason = outcome(report)
        if SEVERITY[verdict] > SEVERITY[found.outcome]:
            found.outcome, found.reason = verdict, reason
        found.duration_ms += report.duration * 1000
        found.tests += report.when == "call" or (report.when == "setup" and not report.passed)
        found.seen |= {
            (operation, answer)
            for operation, _, answer in (one.rpartition("=") for one in str(told.get("seen", "")).split())
        }

    def operations(self) -> dict[str, dict[str, list[str]]]:
        """Every documented (operation, answer) with the passing cases that prove it."""
        table: dict[str, dict[str, list[str]]] = {
            operation: {answer: [] for answer in answers} for operation, answers in Contract.load().documented().items()
        }
        for one in sorted(self.cases.values(), key=lambda case: case.case_id):
            for operation, answer in sorted(one.proved) if one.outcome == "passed" else ():
                table[operation].setdefault(answer, []).append(one.case_id)
        return table

    def matrix(self) -> dict[str, Any]:
        cases = sorted(self.cases.values(), key=lambda case: case.case_id)
        return {
            "cases": [
                {
                    "case": one.case_id,
                    "requirement": one.requirement,
                    "test": one.test,
                    "outcome": one.outcome,
                    "reason": one.reason,
                    "tests": one.tests,
                    "duration_ms": round(one.duration_ms, 1),
                    "proved": [list(pair) for pair in sorted(one.proved)],
                    "unseen": one.unseen,
                    "seen": [list(pair) for pair in sorted(one.seen)],
                }
                for one in cases
            ],
            "operations": self.operations(),
        }

    def verdict(self) -> Verdict:
        """Complaints of the sweep count as failures; with nothing but disabled cases the run is inconclusive."""
        return judge(self.judgements, self.checks())

    def checks(self) -> list[Check]:
        status = {"passed": Status.PASS, "disabled": Status.DISABLED}
        checks = [
            Check(one.case_id, one.requirement, status.get(one.outcome, Status.FAIL), one.reason)
            for one in sorted(self.cases.values(), key=lambda case: case.case_id)
        ]
        # A clean sweep proves nothing by itself: after a run without a passing case it has had nothing to find.
        swept = Status.PASS if any(check.status is Status.PASS for check in checks) else Status.DISABLED
        title = "log lines are as their schemas say, no secret is at rest"
        found = "; ".join(self.complaints[:20])
        return [*checks, Check("sweep", title, Status.FAIL if self.complaints else swept, found)]

    def starts(self) -> str | None:
        return f"{median(self.starts_s):.1f} / {max(self.starts_s):.1f}" if self.starts_s else None

    def table(self) -> str:
        """Operation x answer in Markdown: what passing cases prove, and what none does."""
        lines = ["", "| operation | proved | not proved |", "|---|---|---|"]
        for name, row in self.operations().items():
            lines.append(
                f"| {name} | {' '.join(s for s in row if row[s])} | {' '.join(s for s in row if not row[s])} |"
            )
        return "\n".join(lines) + "\n"

    def lines(self) -> list[dict[str, Any]]:
        """The cases as log lines of the service's own format, told apart by their acceptance.* event."""
        return [
            {
                "ts": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
                "level": "INFO",
                "event": "acceptance.case",
                "request_id": str(uuid.uuid4()),
                "route": "acceptance",
                "case": one.case_id,
                "test": one.test,
                "outcome": one.outcome,
                "duration_ms": round(one.duration_ms, 1),
            }
            for one in self.cases.values()
        ]

    def write(self, folder: Path, capabilities: frozenset[str]) -> int:
        """Every artifact of the run; returns the exit code: 0 pass, 1 the product failed, 2 nothing can be said."""
        counted = Counter(one.outcome for one in self.cases.values())
        facts: dict[str, str | int | float | bool | None] = {
            "cases": len(self.cases),
            **{name: counted[name] for name in SEVERITY},
            "tests": sum(one.tests for one in self.cases.values()),
            "systems started": len(self.starts_s),
            "start of a system, s (median / slowest)": self.starts(),
        }
        if self.suite != "chaos":
            operations = self.operations()
            pairs = [bool(operations[name][status]) for name in operations for status in operations[name]]
            facts["operation_status_pairs_documented"] = len(pairs)
            facts["operation_status_pairs_proved"] = sum(pairs)
            write_json(folder / "matrix.json", self.matrix(), "matrix")
            self.files.append("matrix.json")
            self.tables.append(self.table())
        document = write_result(
            folder,
            Envelope(
                self.suite,
                self.started_at,
                time.time(),
                self.verdict(),
                self.judgements,
                checks=self.checks(),
                seed=self.seed,
                capabilities=capabilities,
                facts=facts,
                files=self.files,
            ),
        )
        with (folder / "summary.md").open("a", encoding="utf-8") as summary:
            summary.write("".join(self.tables))
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in self.lines()), encoding="utf-8")
        return int(document["exit_code"])
