"""The artifacts of a hunt: result.json, faults.json, summary.md. It deliberately judges nothing: hunt.py has."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from faults.fault import ROWS
from faults.hunt import ANOTHER, KILLED, SURVIVED, VOID, Finding
from harness.budgets import Check, Status, judge
from harness.report import Envelope, write_json, write_result

SUITE: Final = "faults"
_STATUS: Final = {
    KILLED: Status.PASS,
    ANOTHER: Status.FAIL,
    SURVIVED: Status.FAIL,
    VOID: Status.INCONCLUSIVE,
}


def _check(finding: Finding) -> Check:
    fault = finding.fault
    by = "" if finding.verdict == KILLED else f"; named: {fault.caught_by}; red: {', '.join(finding.by) or 'nothing'}"
    detail = f"{finding.verdict}{by}; {finding.said}"[:400]
    return Check(fault.id, f"{fault.breaks} -> {fault.caught_by}", _STATUS[finding.verdict], detail)


def _entry(finding: Finding) -> dict[str, Any]:
    fault = finding.fault
    return {
        "fault": fault.id,
        "breaks": fault.breaks,
        "row": fault.row,
        "operations": list(fault.operation),
        "suite": fault.suite,
        "caught_by": fault.caught_by,
        "file": fault.file,
        "old": fault.old,
        "new": fault.new,
        "verdict": finding.verdict,
        "red": list(finding.by),
        "said": finding.said[:1000],
        "took_s": round(finding.took_s, 1),
    }


def _table(findings: Sequence[Finding]) -> str:
    """Row of seed 000's matrix x what became of its faults."""
    lines = ["", "| row | faults | killed by the named case | not |", "|---|---:|---:|---:|"]
    for row in ROWS:
        mine = [finding for finding in findings if finding.fault.row == row]
        killed = sum(finding.verdict == KILLED for finding in mine)
        lines.append(f"| {row} | {len(mine)} | {killed} | {len(mine) - killed} |")
    return "\n".join(lines) + "\n"


def write(
    folder: Path, started_at: float, findings: Sequence[Finding], trouble: Sequence[str], *, of: int, seed: str | None
) -> int:
    """Every artifact; returns the exit code. trouble: what keeps the hunt from proving anything; of: all faults."""
    checks = [_check(finding) for finding in sorted(findings, key=lambda finding: finding.fault.id)]
    counted = Counter(finding.verdict for finding in findings)
    envelope = Envelope(
        SUITE,
        started_at,
        time.time(),
        judge([], checks, trouble),
        checks=checks,
        facts={
            "faults in the catalogue": of,
            "faults run": len(findings),
            **{verdict: counted[verdict] for verdict in _STATUS},
            "drawn by": seed,
        },
        files=["faults.json", "output"],
    )
    document = write_result(folder, envelope)
    with (folder / "summary.md").open("a", encoding="utf-8") as summary:
        summary.write(_table(findings))
    write_json(folder / "faults.json", {"faults": [_entry(finding) for finding in findings]}, "faults")
    return int(document["exit_code"])
