"""The artifacts of a runner: result.json, mutants.json, summary.md. It judges nothing: runner.py has."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from harness.verdict.artifacts import Envelope, write_json, write_result
from harness.verdict.thresholds import Check, Status, judge
from mutants.mutant import ROWS
from mutants.runner import ANOTHER, KILLED, SURVIVED, VOID, Finding

SUITE: Final = "mutants"
_STATUS: Final = {
    KILLED: Status.PASS,
    ANOTHER: Status.FAIL,
    SURVIVED: Status.FAIL,
    VOID: Status.INCONCLUSIVE,
}


def _check(finding: Finding) -> Check:
    mutant = finding.mutant
    by = "" if finding.verdict == KILLED else f"; named: {mutant.caught_by}; red: {', '.join(finding.by) or 'nothing'}"
    detail = f"{finding.verdict}{by}; {finding.said}"[:400]
    return Check(mutant.id, f"{mutant.breaks} -> {mutant.caught_by}", _STATUS[finding.verdict], detail)


def _entry(finding: Finding) -> dict[str, Any]:
    mutant = finding.mutant
    return {
        "mutant": mutant.id,
        "breaks": mutant.breaks,
        "row": mutant.row,
        "operations": list(mutant.operation),
        "suite": mutant.suite,
        "caught_by": mutant.caught_by,
        "file": mutant.file,
        "old": mutant.old,
        "new": mutant.new,
        "verdict": finding.verdict,
        "red": list(finding.by),
        "said": finding.said[:1000],
        "took_s": round(finding.took_s, 1),
    }


def _table(findings: Sequence[Finding]) -> str:
    """Row of seed 000's matrix x what became of its mutants."""
    lines = ["", "| row | mutants | killed by the named case | not |", "|---|---:|---:|---:|"]
    for row in ROWS:
        mine = [finding for finding in findings if finding.mutant.row == row]
        killed = sum(finding.verdict == KILLED for finding in mine)
        lines.append(f"| {row} | {len(mine)} | {killed} | {len(mine) - killed} |")
    return "\n".join(lines) + "\n"


def write(
    folder: Path, started_at: float, findings: Sequence[Finding], *, of: int, seed: str | None, repeat: int
) -> int:
    """Every artifact; returns the exit code. of: how many mutants there are; repeat: how many times each was run."""
    checks = [_check(finding) for finding in sorted(findings, key=lambda finding: finding.mutant.id)]
    counted = Counter(finding.verdict for finding in findings)
    envelope = Envelope(
        SUITE,
        started_at,
        time.time(),
        judge([], checks),
        checks=checks,
        facts={
            "mutants in the catalogue": of,
            "mutants run": len(findings),
            "times each": repeat,
            **{verdict: counted[verdict] for verdict in _STATUS},
            "drawn by": seed,
        },
        files=["mutants.json", "output"],
    )
    document = write_result(folder, envelope)
    with (folder / "summary.md").open("a", encoding="utf-8") as summary:
        summary.write(_table(findings))
    write_json(folder / "mutants.json", {"mutants": [_entry(finding) for finding in findings]}, "mutants")
    return int(document["exit_code"])
