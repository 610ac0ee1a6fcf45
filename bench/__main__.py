"""`python -m bench`: measures every row, says how each went, writes artifacts/bench and ends with the verdict.

Exit code 0: every limit that was judged holds; 1: one does not; 2: one could not be judged. A target that the product
has not reached yet is reported as missed and fails nothing. Nothing is tried twice until it passes.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bench import against, wrk
from bench.pairs import LEAST_PAIRS
from bench.rig import QUICK, TROUBLE, Facts, Plan, Rig, reason
from bench.rows import COMPARED, ROWS, Row
from harness import preflight
from harness.settings import HarnessError, artifacts
from harness.verdict.artifacts import Envelope, write_result
from harness.verdict.cpu_contention import Strangers, excused
from harness.verdict.thresholds import Check, Judgement, Status, exit_code, judge

SUITE = "bench"
_TROUBLE = 2
_NOTES = (
    "Ratios carry over to another machine, absolute figures do not.",
    "PostgreSQL, fake FCM, backend and generator share this machine; the CPUs that each kept busy stand in the facts.",
    "wrk is a closed loop: its rounds say how many, never how fast. Latencies come from open loops.",
    "A backend that is measured beside others runs without background work: the stack's own does that.",
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the performance targets on stacks of its own. Keep the machine quiet meanwhile.",
        epilog=f"Rows: {', '.join(row.name for row in ROWS)}. Exit code: 0 all limits hold (a target that is not"
        " reached yet is reported, and fails nothing), 1 one does not, 2 one could not be judged, or wrk is missing."
        " NEXMDM_BACKEND_COMMAND names the backend.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a minute or two: short rounds, without the rows that need more"
    )
    parser.add_argument("--only", action="append", metavar="ROW", choices=[row.name for row in ROWS], help="repeatable")
    parser.add_argument("--load-python", metavar="PATH", help="the Python that runs the scenarios of load")
    parser.add_argument("--sim-duration", type=float, default=120.0, metavar="S", help="of sim20, seconds")
    parser.add_argument("--artifacts", type=Path, metavar="DIR", help="default: ./artifacts/bench")
    before = parser.add_argument_group(
        "before and after",
        f"Compare rows (default: {', '.join(COMPARED)}) with those of another revision. Exit code 0: measured, and"
        " within the limit if one is asked for; 1: worse than that; 2: not comparable, void, or too noisy to tell.",
    )
    before.add_argument("--against", metavar="REV", help="the revision")
    before.add_argument("--baseline", type=Path, metavar="PATH", help="its `nexmdm`; `nox -s bench` builds it")
    before.add_argument("--pairs", type=_pairs, default=LEAST_PAIRS, metavar="N", help=f"at least {LEAST_PAIRS}")
    before.add_argument("--within", type=_percent, metavar="PERCENT", help="fail if a median ratio is worse by more")
    return parser


def _pairs(text: str) -> int:
    if not text.isdecimal() or int(text) < LEAST_PAIRS:
        raise argparse.ArgumentTypeError(f"at least {LEAST_PAIRS}, not {text}")
    return int(text)


def _percent(text: str) -> float:
    try:
        percent = float(text)
    except ValueError:
        percent = 0.0
    if not 0 < percent < 100:
        raise argparse.ArgumentTypeError(f"more than 0 and less than 100, not {text}")
    return percent


def _on_sigterm(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def measure(rig: Rig, row: Row) -> list[Judgement]:
    """The row's judgements; whatever broke on the way makes them inconclusive and says so."""
    try:
        judged = row.measure(rig)
    except TROUBLE as error:
        return [Judgement(limit, None, 0, Status.INCONCLUSIVE, reason(error)) for limit in row.limits]
    assert [one.limit.name for one in judged] == [limit.name for limit in row.limits], row.name
    return judged


def spared(row: Row, judged: Judgement, strangers: float | None) -> Judgement:
    """Others on the CPUs excuse a miss; a time that holds beside them holds all the better, a ratio proves nothing."""
    missed = judged.status in (Status.FAIL, Status.TARGET_MISSED)
    doubted = missed or (judged.status is Status.PASS and row.relative)
    return excused(judged, strangers) if doubted else judged


def _say(rig: Rig, judged: Judgement) -> None:
    limit = judged.limit
    seen = "-" if judged.observed is None else f"{judged.observed:.4g}"
    note = f" ({judged.note})" if judged.note else ""
    seen = f"{seen} {limit.unit}".rstrip()
    rig.say(f"{judged.status.value:13} {limit.name}: {seen}, wanted {limit.op} {limit.value:g}{note}")


def run(rig: Rig, rows: Sequence[Row]) -> list[Judgement]:
    """All rows in order, each said when it is done."""
    judgements: list[Judgement] = []
    for row in rows:
        if rig.plan.quick and row.needs:
            found = [limit.disabled(row.needs) for limit in row.limits]
        else:
            rig.say(f"{row.name} ...")
            watched = Strangers(rig.pid)
            found = measure(rig, row)
            share = watched.share()
            found = [spared(row, judged, share) for judged in found]
            rig.facts[f"{row.name}: CPU taken by other programs"] = None if share is None else f"{share:.0%}"
        for judged in found:
            _say(rig, judged)
        judgements += found
    return judgements


def _write(
    plan: Plan,
    started_at: float,
    judgements: Sequence[Judgement],
    facts: Facts,
    checks: Sequence[Check] = (),
    notes: Sequence[str] = _NOTES,
) -> int:
    envelope = Envelope(
        SUITE,
        started_at,
        time.time(),
        judge(judgements, checks),
        judgements,
        checks,
        facts={"CPUs": os.cpu_count(), "load average at the end": os.getloadavg()[0], **facts},
        notes=[*(["A quick look: short rounds, and only what takes no minutes."] if plan.quick else []), *notes],
    )
    return int(write_result(plan.artifacts, envelope)["exit_code"])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if (given.against is None) != (given.baseline is None):
        parser.error("--against and --baseline go together; `nox -s bench -- --against REV` gives both")
    if given.against is None and given.within is not None:
        parser.error("--within needs --against")
    signal.signal(signal.SIGTERM, _on_sigterm)
    names = given.only or (COMPARED if given.against else [row.name for row in ROWS])
    rows = [row for row in ROWS if row.name in names]
    folder = given.artifacts or artifacts(SUITE)
    base = QUICK if given.quick else Plan()
    plan = replace(base, sim_duration_s=given.sim_duration, load_python=given.load_python, artifacts=folder.absolute())
    started_at = time.time()
    try:
        preflight.refuse_given(SUITE)
        wrk.command()
        (folder / "result.json").unlink(missing_ok=True)  # a run that is cut short must not leave an older verdict
        if given.against is None:
            with Rig(plan) as rig:
                rig.say(f"a stack at {rig.stack.target.base_url}")
                judgements = run(rig, rows)
                code = _write(plan, started_at, judgements, rig.facts)
        else:
            # Short rounds: the pairs repeat them.
            order = against.Order(given.against, given.baseline, given.pairs, given.within)
            found = against.run(replace(plan, rounds=2, repeats=1), rows, order)
            code = _write(plan, started_at, found.judgements, found.facts, found.checks, against.NOTES)
        print(f"bench: exit code {code}: {folder / 'summary.md'}", file=sys.stderr)
    except HarnessError as error:
        print(f"bench: {error}", file=sys.stderr)
        return _TROUBLE
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(exit_code(main))
