"""Known vulnerabilities of what is locked: `python -m ci.audit --pip-audit PROGRAM`, over every lock.

An audit is believed only if it sees the vulnerability of a control in the same run: where the database cannot be asked,
pip-audit calls everything sound. It updates no lock.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ci.environments import BACKEND_LOCK, LOCKS, ROOT
from harness.settings import artifacts
from harness.verdict.artifacts import Envelope, write_result
from harness.verdict.thresholds import Check, Status, exit_code, judge

SUITE: Final = "audit"
CONTROL: Final = "jinja2==2.10"  # CVE-2019-10906, and more since
_WITHIN_S: Final = 300.0

Report = Mapping[str, Any]


def ask(program: Path, requirements: Path) -> Report | str:
    """What pip-audit reports of a requirements file, or in a line why it could not."""
    command = [
        str(program),
        "-r",
        str(requirements),
        "--disable-pip",
        "--no-deps",
        "--format",
        "json",
        "--timeout",
        "15",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_WITHIN_S)
    except subprocess.TimeoutExpired:
        return f"no answer within {_WITHIN_S:.0f} s"
    try:
        report: Report = json.loads(done.stdout)
    except ValueError:
        # The class of the error alone: its text names hosts of this machine's network.
        last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
        return f"exit code {done.returncode}, {last.partition(':')[0][:100]}"
    return report


def control(report: Report | str) -> Check:
    """Whether the database of vulnerabilities was there: the control's is known to it."""
    title = f"the database knows the vulnerability of {CONTROL}"
    if isinstance(report, str):
        return Check("audit/control", title, Status.INCONCLUSIVE, report)
    if found := _vulnerable(report):
        return Check("audit/control", title, Status.PASS, "; ".join(found)[:300])
    return Check("audit/control", title, Status.INCONCLUSIVE, "not seen: it could not be asked")


def of_lock(name: str, report: Report | str) -> Check:
    """Whether a lock is free of what is known; inconclusive where some of it could not be looked up."""
    title = f"{name} has no known vulnerability"
    check_id = f"audit/{Path(name).with_suffix('')}"
    if isinstance(report, str):
        return Check(check_id, title, Status.INCONCLUSIVE, report)
    if found := _vulnerable(report):
        return Check(check_id, title, Status.FAIL, "; ".join(found)[:1000])
    every: Sequence[Mapping[str, Any]] = report["dependencies"]
    skipped = [one["name"] for one in every if "skip_reason" in one]
    if skipped or not every:
        return Check(check_id, title, Status.INCONCLUSIVE, f"{len(skipped)} of {len(every)} could not be looked up")
    return Check(check_id, title, Status.PASS, f"{len(every)} packages")


def _vulnerable(report: Report) -> list[str]:
    return [
        f"{one['name']} {one['version']}: {', '.join(sorted({each['id'] for each in one['vulns']}))}"
        for one in report["dependencies"]
        if one.get("vulns")
    ]


def main() -> int:
    """Audit every lock, write artifacts/audit. Returns the exit code of the verdict."""
    parser = argparse.ArgumentParser(prog="python -m ci.audit", description=__doc__)
    parser.add_argument("--pip-audit", type=Path, required=True)
    parser.add_argument("locks", nargs="*", type=Path, help="default: all of them")
    given = parser.parse_args()
    started_at = time.time()
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "control.txt"
        sample.write_text(f"{CONTROL}\n", encoding="utf-8")
        checks = [control(ask(given.pip_audit, sample))]
    # Where the database is not there, every other answer would only repeat it.
    if checks[0].status is Status.PASS:
        for lock in given.locks or [BACKEND_LOCK, *sorted(LOCKS.glob("*.txt"))]:
            name = str(lock.relative_to(ROOT)) if lock.is_relative_to(ROOT) else lock.name
            checks.append(of_lock(name, ask(given.pip_audit, lock)))
    verdict = judge([], checks)
    write_result(artifacts(SUITE), Envelope(SUITE, started_at, time.time(), verdict, checks=checks))
    for check in checks:
        print(f"audit: {check.status.value}: {check.title}: {check.detail}")
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(exit_code(main))
