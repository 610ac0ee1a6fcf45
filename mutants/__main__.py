"""`python -m mutants`: run the suites against broken backends. Exit code 0: each was caught as planned.

1: a mutant survived, or another check than the named one noticed it: a hole in the suite. 2: nothing can be said (the
catalogue is stale, a broken backend did not start, or a named check is red on the sound backend too).
It starts no PostgreSQL: `python -m harness run --only postgres -- python -m mutants` does.
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

from harness import preflight
from harness.options import positive
from harness.settings import HarnessError, artifacts, backend_command
from harness.verdict.artifacts import git_sha
from harness.verdict.console import Console
from harness.verdict.thresholds import exit_code
from mutants.artifacts import SUITE, write
from mutants.mutant import SOURCES, CatalogueError, Mutant, misfits, read
from mutants.runner import KILLED, Finding, Runner
from mutants.runs import Runs
from mutants.suites import ENVIRONMENTS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nox -s mutants --", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", action="append", metavar="GLOB", help="mutants by id, e.g. 'heartbeat/*'; repeatable")
    parser.add_argument("--sample", type=positive, metavar="N", help="N mutants drawn by --seed")
    parser.add_argument("--seed", help="what the sample is drawn by (default: the commit)")
    # Most of a run is waiting, for a log line or a counter that never comes. More than 16 would need more connections
    # than the database has.
    jobs = min(16, 4 * (os.cpu_count() or 1))
    parser.add_argument("--jobs", type=positive, default=jobs, metavar="N", help="at a time (default %(default)s)")
    parser.add_argument("--repeat", type=positive, default=1, metavar="N", help="N times each; all have to kill it")
    parser.add_argument(
        "--whole",
        action="store_true",
        help="ask all of the suite, too, about a mutant that its named check lets through",
    )
    parser.add_argument("--list", action="store_true", help="show the catalogue and end")
    parser.add_argument("--check", action="store_true", help="see that each fits the sources and compiles, and end")
    parser.add_argument("--python", action="append", default=[], metavar="ENVIRONMENT=PATH", help=argparse.SUPPRESS)
    return parser


def _chosen(mutants: Sequence[Mutant], only: Sequence[str] | None, sample: int | None, seed: str) -> list[Mutant]:
    chosen = [mutant for mutant in mutants if not only or any(fnmatch.fnmatch(mutant.id, glob) for glob in only)]
    if not chosen:
        raise CatalogueError(f"no mutant is called {', '.join(only or ())}; --list shows all")
    if sample is None:
        return chosen
    # The suites that measure time take minutes: the sample is drawn from the mutants that a case catches.
    drawn = [mutant for mutant in chosen if mutant.suite == "acceptance"]
    return random.Random(seed).sample(drawn, min(sample, len(drawn)))  # noqa: S311 - a draw, no secret


def _tell(console: Console, finding: Finding, place: str) -> None:
    """A line for a mutant, and one more for one that was not killed as planned."""
    mutant = finding.mutant
    console.say(f"{place} {finding.verdict}: {mutant.id} -> {mutant.caught_by} ({finding.took_s:.1f} s)")
    if finding.verdict != KILLED:
        console.say(f"    {mutant.breaks}; red: {', '.join(finding.by) or 'nothing'}; {finding.said[:300]}")


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    seed = given.seed or git_sha() or "no commit"
    try:
        catalogue = read()
        mutants = _chosen(catalogue, given.only, given.sample, seed)
        if given.list:
            for mutant in mutants:
                print(f"{mutant.id:40} {mutant.caught_by:24} {mutant.breaks}")
            return 0
        if given.check:
            found = misfits(mutants, SOURCES)
            print("\n".join(found) or f"{len(mutants)} mutants fit", file=sys.stderr if found else sys.stdout)
            return int(bool(found))
        preflight.refuse_given(SUITE)
        return _hunt(mutants, len(catalogue), given, seed)
    except (CatalogueError, HarnessError) as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mutants: stopped", file=sys.stderr)
        return 130


def _hunt(mutants: Sequence[Mutant], of: int, given: argparse.Namespace, seed: str) -> int:
    pythons = dict.fromkeys(ENVIRONMENTS, sys.executable) | dict(pair.split("=", 1) for pair in given.python)
    folder = artifacts(SUITE)
    shutil.rmtree(folder / "output", ignore_errors=True)
    console, started_at = Console(SUITE), time.time()
    runs = Runs(backend_command(), pythons, folder / "output")
    if server := os.environ.get("DATABASE_URL"):
        runs.prepare(server)
    console.say(f"{len(mutants)} mutants; their checks are asked about the sound backend first")
    findings: list[Finding] = []
    runner = Runner(runs, given.jobs, whole=given.whole, repeat=given.repeat, progress=console.progress)
    for finding in runner.run(mutants):
        findings.append(finding)
        _tell(console, finding, f"{len(findings)}/{len(mutants)}")
    drawn_by = seed if given.sample else None
    code = write(folder, started_at, findings, of=of, seed=drawn_by, repeat=given.repeat)
    console.say(f"exit code {code}: {folder / 'summary.md'}")
    return code


if __name__ == "__main__":
    sys.exit(exit_code(main))
