"""`python -m bench`: measures every row, says how each went, writes artifacts/bench and ends with the verdict.

Exit code 0: every target that was judged holds; 1: one is missed; 2: one could not be judged. It deliberately retries
nothing: a second try until it passes would be no measurement.
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

import aiohttp
import psycopg

from bench import wrk
from bench.rig import QUICK, Facts, Plan, Rig
from bench.rows import ROWS, Row
from harness import preflight
from harness.budgets import Judgement, Status, exit_code, judge
from harness.client import TransportError
from harness.report import Envelope, write_result
from harness.settings import HarnessError, artifacts
from harness.strangers import Strangers
from harness.waiting import WaitTimeout

SUITE = "bench"
_TROUBLE = 2
_STRANGERS_SHARE = 0.25
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
        epilog=f"Rows: {', '.join(row.name for row in ROWS)}. Exit code: 0 all hold, 1 one is missed, 2 one could not"
        " be judged, or wrk is missing. NEXMDM_BACKEND_COMMAND names the backend.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a minute or two: short rounds, without the rows that need more"
    )
    parser.add_argument("--only", action="append", metavar="ROW", choices=[row.name for row in ROWS], help="repeatable")
    parser.add_argument("--load-python", metavar="PATH", help="the Python that runs the scenarios of load")
    parser.add_argument("--sim-duration", type=float, default=120.0, metavar="S", help="of sim20, seconds")
    parser.add_argument("--artifacts", type=Path, metavar="DIR", help="default: ./artifacts/bench")
    return parser


def _on_sigterm(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def measure(rig: Rig, row: Row) -> list[Judgement]:
    """The row's judgements; whatever broke on the way makes them inconclusive and says so."""
    try:
        judged = row.measure(rig)
    except (HarnessError, WaitTimeout, TransportError, psycopg.Error, aiohttp.ClientError, OSError) as error:
        why = f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
        return [Judgement(limit, None, 0, Status.INCONCLUSIVE, why) for limit in row.limits]
    assert [one.limit.name for one in judged] == [limit.name for limit in row.limits], row.name
    return judged


def spared(row: Row, judged: Judgement, strangers: float | None) -> Judgement:
    """Others on the CPUs excuse a miss; a time that holds beside them holds all the better, a ratio proves nothing."""
    doubted = judged.status is Status.FAIL or (judged.status is Status.PASS and row.relative)
    if not doubted or strangers is None or strangers < _STRANGERS_SHARE:
        return judged
    return judged.voided(f"other programs took {strangers:.0%} of the CPUs meanwhile")


def _say(rig: Rig, judged: Judgement) -> None:
    limit = judged.limit
    seen = "-" if judged.observed is None else f"{judged.observed:.4g}"
    note = f" ({judged.note})" if judged.note else ""
    seen = f"{seen} {limit.unit}".rstrip()
    rig.say(f"{judged.status.value:12} {limit.name}: {seen}, wanted {limit.op} {limit.value:g}{note}")


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


def _write(plan: Plan, started_at: float, judgements: list[Judgement], facts: Facts) -> int:
    envelope = Envelope(
        SUITE,
        started_at,
        time.time(),
        judge(judgements),
        judgements,
        facts={"CPUs": os.cpu_count(), "load average at the start": os.getloadavg()[0], **facts},
        notes=[*(["A quick look: short rounds, and only what takes no minutes."] if plan.quick else []), *_NOTES],
    )
    return int(write_result(plan.artifacts, envelope)["exit_code"])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _on_sigterm)
    rows = [row for row in ROWS if not given.only or row.name in given.only]
    folder = given.artifacts or artifacts(SUITE)
    base = QUICK if given.quick else Plan()
    plan = replace(base, sim_duration_s=given.sim_duration, load_python=given.load_python, artifacts=folder.absolute())
    started_at = time.time()
    try:
        preflight.refuse_given(SUITE)
        wrk.command()
        (folder / "result.json").unlink(missing_ok=True)  # a run that is cut short must not leave an older verdict
        with Rig(plan) as rig:
            rig.say(f"a stack at {rig.stack.target.base_url}")
            judgements = run(rig, rows)
            code = _write(plan, started_at, judgements, rig.facts)
            rig.say(f"exit code {code}: {folder / 'summary.md'}")
    except HarnessError as error:
        print(f"bench: {error}", file=sys.stderr)
        return _TROUBLE
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(exit_code(main))
