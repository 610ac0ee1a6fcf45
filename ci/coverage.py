"""The coverage gate: every documented (operation, answer) has a passing case, or openapi.yaml says why it has none.

`python -m ci.coverage` reads what the last runs of the acceptance and the contract suite left in artifacts/. The cases
of a plain run have to prove every pair without the slow ones; `--slow` holds the slow ones to what they declare too,
all of them or, with `--selected`, those that were asked for.
An answer is a status; of a call of JSON-RPC its result, or the code of its error (harness.http.answers). What counts is
that a case declares the pair and has seen it. What a case only met on its way is not counted, and a sighting of the
fuzzer is shown beside the cases: nobody could say what either proves. A response, or an entry of `x-rpc-errors`, that
no case can provoke carries `x-no-case: <reason>`. It sends no request.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ci import cases
from harness.http import answers
from harness.http.openapi import Document
from harness.settings import artifacts
from harness.verdict.artifacts import ROOT, Envelope, write_result
from harness.verdict.thresholds import Check, Status, exit_code, judge

SUITE: Final = "coverage"
SLOW: Final = "acceptance-slow"


@dataclass(frozen=True)
class Pair:
    """One documented answer of one operation: who saw it, and the reason why nobody can."""

    operation: str
    answer: str
    reason: str
    cases: tuple[str, ...]
    fuzzed: int

    @property
    def fault(self) -> str:
        """What is wrong with it; empty when nothing is."""
        if self.cases and self.reason:
            return f"{self.answer}: has a case ({self.cases[0]}) and a reason for having none"
        if self.cases or self.reason:
            return ""
        return f"{self.answer}: no case" + (f" (the fuzzer saw it {self.fuzzed} times)" if self.fuzzed else "")


def documented(spec: Document) -> Iterator[tuple[str, str, str]]:
    """operationId, answer, reason (mostly empty)."""
    for operation in spec.operations():
        for answer, reason in answers.documented(spec, operation).items():
            yield operation.id, answer, reason


def pairs(spec: Document, matrix: Mapping[str, Any], contract: Mapping[str, Any]) -> list[Pair]:
    """Every documented pair with what matrix.json and coverage.json say of it."""
    return [
        Pair(
            operation,
            answer,
            reason,
            tuple(matrix["operations"].get(operation, {}).get(answer, ())),
            contract["operations"].get(operation, {}).get("answers", {}).get(answer, 0),
        )
        for operation, answer, reason in documented(spec)
    ]


def doubts(results: Mapping[str, Mapping[str, Any]], run: set[str], listed: set[str]) -> Iterator[str]:
    """Why the artifacts prove nothing: a run that did not pass, that was partial, or that saw another commit."""
    for suite, result in results.items():
        if result["verdict"] != "pass":
            yield f"the last run of {suite} did not pass: {result['verdict']}"
    if missing := sorted(listed - run):
        yield f"the last run of the cases was partial, or docs/cases.md is old: without {', '.join(missing[:5])}"
    if len({result["git_sha"] for result in results.values()}) > 1:
        yield "the suites saw different commits: run both again"


def _table(found: list[Pair]) -> str:
    lines = ["", "| operation | answer | cases | fuzzer |", "|---|---|---|---:|"]
    lines += [
        f"| {pair.operation} | {pair.answer} | {', '.join(pair.cases) or pair.reason or '**none**'} | {pair.fuzzed} |"
        for pair in found
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(prog="nox -s coverage --", allow_abbrev=False)
    parser.add_argument("--slow", action="store_true", help="look at the last run of the slow cases too")
    parser.add_argument("--selected", action="store_true", help="with --slow: only some of these were asked for")
    options = parser.parse_args(arguments)
    slow: bool = options.slow
    started_at, root = time.time(), artifacts()
    suites = ("acceptance", "contract", *([SLOW] if slow else []))
    try:
        results = {name: _read(root / name / "result.json") for name in suites}
        matrix, contract = _read(root / "acceptance" / "matrix.json"), _read(root / "contract" / "coverage.json")
        more = _read(root / SLOW / "matrix.json")["cases"] if slow else []
    except OSError as error:
        print(f"coverage: {error.filename} is missing: run `nox -s contract acceptance{' slow' * slow}` first")
        return 2
    passed = [one for one in (*matrix["cases"], *more) if one["outcome"] == "passed"]
    run = {one["case"] for one in passed}
    found = pairs(Document.read(ROOT / "openapi.yaml"), matrix, contract)
    checks = [_check(name, [pair for pair in found if pair.operation == name]) for name in _names(found)]
    checks += [
        Check(one["case"], "sees every answer that it declares", Status.FAIL, ", ".join(one["unseen"]))
        for one in passed
        if one["unseen"]
    ]
    # Chaos is a suite of its own: its cases are about what becomes of writes, and declare no documented answer.
    wanted = cases.ids(cases.page(), slow=slow and not options.selected)
    listed = {case_id for case_id in wanted if not case_id.startswith("chaos/")}
    reasons = list(doubts(results, run, listed))
    verdict = judge([], checks, reasons)
    covered = sum(bool(pair.cases) for pair in found)
    facts: dict[str, str | int | float | bool | None] = {
        "documented (operation, answer) pairs": len(found),
        "with a case": covered,
        "with a reason instead": sum(bool(pair.reason) for pair in found),
        "seen by the fuzzer too": sum(pair.fuzzed > 0 for pair in found),
    }
    write_result(artifacts(SUITE), Envelope(SUITE, started_at, time.time(), verdict, checks=checks, facts=facts))
    with (artifacts(SUITE) / "summary.md").open("a", encoding="utf-8") as summary:
        summary.write(_table(found))
    for reason in verdict.reasons:
        print(f"coverage: {reason}")
    print(f"coverage: {verdict.status.value}: {covered} of {len(found)} documented (operation, answer) have a case")
    return verdict.exit_code


def _names(found: list[Pair]) -> list[str]:
    return list(dict.fromkeys(pair.operation for pair in found))


def _check(operation: str, mine: list[Pair]) -> Check:
    faults = [pair.fault for pair in mine if pair.fault]
    title = f"every documented answer of {operation} has a case"
    return Check(operation, title, Status.FAIL if faults else Status.PASS, "; ".join(faults) or f"{len(mine)} answers")


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
