"""`python -m faults`: run the suites against deliberately broken backends. Exit code 0: each was caught as planned.

1: a fault survived, or another check than the named one noticed it: a hole in the suite. 2: nothing can be said (the
catalogue is stale, a broken backend did not start, or a named check is red on the sound backend too).
It starts no PostgreSQL: `python -m harness run --only postgres -- python -m faults` does.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import random
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from faults import report
from faults.fault import CatalogueError, Fault, read
from faults.hunt import KILLED, Finding, Hunt
from faults.suites import NAMES
from harness import preflight
from harness.budgets import exit_code
from harness.report import git_sha
from harness.settings import HarnessError, artifacts, backend_command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nox -s faults --", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", action="append", metavar="GLOB", help="faults by id, e.g. 'heartbeat/*'; repeatable")
    parser.add_argument("--sample", type=int, metavar="N", help="N faults drawn by --seed")
    parser.add_argument("--seed", help="what the sample is drawn by (default: the commit)")
    # Twice the CPUs: half of a run is waiting, mostly for a log line or a counter that never comes.
    jobs = 2 * (os.cpu_count() or 1)
    parser.add_argument("--jobs", type=int, default=jobs, metavar="N", help="at a time (default %(default)s)")
    parser.add_argument("--list", action="store_true", help="show the catalogue and end")
    parser.add_argument("--python", action="append", default=[], metavar="SUITE=PATH", help=argparse.SUPPRESS)
    return parser


def _chosen(faults: Sequence[Fault], only: Sequence[str] | None, sample: int | None, seed: str) -> list[Fault]:
    chosen = [fault for fault in faults if not only or any(fnmatch.fnmatch(fault.id, glob) for glob in only)]
    if not chosen:
        raise CatalogueError(f"no fault is called {', '.join(only or ())}; --list shows all")
    if sample is None:
        return chosen
    # The suites that measure time take minutes: the sample is drawn from the faults that a case catches.
    drawn = [fault for fault in chosen if fault.suite == "acceptance"]
    return random.Random(seed).sample(drawn, min(sample, len(drawn)))  # noqa: S311 - a draw, no secret


@dataclass
class _Progress:
    """A line per fault, with its number and the time so far."""

    total: int
    begun: float = field(default_factory=time.monotonic)
    done: int = 0

    def say(self, text: str) -> None:
        print(f"[faults {time.monotonic() - self.begun:5.1f} s] {text}", flush=True)

    def found(self, finding: Finding) -> None:
        self.done += 1
        fault = finding.fault
        place = f"{self.done}/{self.total}"
        self.say(f"{place} {finding.verdict}: {fault.id} -> {fault.caught_by} ({finding.took_s:.1f} s)")
        if finding.verdict != KILLED:
            self.say(f"    {fault.breaks}; red: {', '.join(finding.by) or 'nothing'}; {finding.said[:300]}")


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    seed = given.seed or git_sha() or "no commit"
    try:
        catalogue = read()
        faults = _chosen(catalogue, given.only, given.sample, seed)
        if given.list:
            for fault in faults:
                print(f"{fault.id:40} {fault.caught_by:24} {fault.breaks}")
            return 0
        preflight.refuse_given(report.SUITE)
        return _hunt(faults, len(catalogue), given, seed)
    except (CatalogueError, HarnessError) as error:
        print(f"faults: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("faults: stopped", file=sys.stderr)
        return 130


def _hunt(faults: Sequence[Fault], of: int, given: argparse.Namespace, seed: str) -> int:
    pythons = dict.fromkeys(NAMES, sys.executable) | dict(pair.split("=", 1) for pair in given.python)
    folder = artifacts(report.SUITE)
    shutil.rmtree(folder / "output", ignore_errors=True)
    progress, started_at = _Progress(len(faults)), time.time()
    hunt = Hunt(backend_command(), pythons, given.jobs, folder / "output")
    if server := os.environ.get("DATABASE_URL"):
        hunt.prepare(server)
    progress.say(f"control: {len(faults)} faults' checks against the sound backend")
    findings: list[Finding] = []
    control = hunt.control(faults)
    trouble = [f"control of {suite}: {what}" for suite, found in control.items() for what in found]
    for line in trouble:
        progress.say(line)
    for finding in hunt.run([fault for fault in faults if fault.suite not in control]):
        progress.found(finding)
        findings.append(finding)
    code = report.write(folder, started_at, findings, trouble, of=of, seed=seed if given.sample else None)
    progress.say(f"exit code {code}: {folder / 'summary.md'}")
    return code


if __name__ == "__main__":
    sys.exit(exit_code(main))
