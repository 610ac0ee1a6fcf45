"""The steps of the contract suite. Each takes the order and returns what it found; none decides about the run.

A step may run beside the others: it writes files of its own names only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from contracts.drift import drift
from contracts.fuzz import acceptance_rate, runner, scope
from contracts.fuzz.tally import Tally
from contracts.lint import linters
from harness.http.openapi import Document
from harness.settings import Target, backend_command
from harness.verdict import artifacts
from harness.verdict.thresholds import Check, Judgement, Status

SHOWN: Final = 20
Say = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What a run was asked for."""

    target: Target | None
    folder: Path
    examples: int
    seed: int
    say: Say
    progress: Say
    environ: Mapping[str, str]

    def needs_target(self) -> Target:
        if self.target is None:
            raise LookupError("this step needs a target")
        return self.target


@dataclass
class Outcome:
    """What a step found. `tally`: what the fuzzer counted."""

    checks: list[Check] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    facts: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    tally: Tally | None = None

    @classmethod
    def doubt(cls, name: str, title: str, why: str) -> Outcome:
        return cls([Check(name, title, Status.INCONCLUSIVE, why)])


def run_lint(order: Order) -> Outcome:
    title = "openapi.yaml is clean"
    try:
        faults = linters.findings()
    except linters.LinterUnavailable as error:
        return Outcome.doubt("lint", title, str(error))
    clean = f"openapi-spec-validator, Redocly {linters.REDOCLY_VERSION}, openapi-python-client, house rules"
    return _faults(order, "lint", title, faults, clean)


def run_drift(order: Order) -> Outcome:
    title = "openapi.yaml says what the code does, both ways"
    faults: list[str] = []
    compared: list[str] = []
    unseen: list[Check] = []
    try:
        if order.environ.get("NEXMDM_BACKEND_COMMAND"):
            faults += drift.drift(Document.read(), drift.code_document(backend_command(order.environ)))
            compared.append("the code's routes")
        else:
            why = "NEXMDM_BACKEND_COMMAND is not set: the code was not looked at"
            unseen.append(Check("drift/code", title, Status.DISABLED, why))
        if order.target is not None:
            faults += drift.served_drift(order.target)
            compared.append("the served document")
    except drift.NothingToCompare as error:
        return Outcome.doubt("drift", title, str(error))
    outcome = _faults(order, "drift", title, faults, f"against {' and '.join(compared)}")
    outcome.checks += unseen
    return outcome


def _faults(order: Order, name: str, title: str, faults: Sequence[str], clean: str) -> Outcome:
    """A check that fails on any fault; all faults go to a file, since a summary shows only the first."""
    if not faults:
        return Outcome([Check(name, title, Status.PASS, clean)])
    file = f"{name}.txt"
    artifacts.write_text(order.folder / file, "\n".join(faults) + "\n")
    for fault in faults[:SHOWN]:
        order.say(f"  {fault}")
    shown = f"{len(faults)} in {file}: {'; '.join(faults[:3])}"[:600]
    return Outcome([Check(name, title, Status.FAIL, shown)], files=[file])


def run_fuzz(order: Order) -> Outcome:
    title = "Schemathesis: all phases, all checks, no finding"
    try:
        code, tally = runner.run(
            order.needs_target(), order.folder, examples=order.examples, seed=order.seed, progress=order.progress
        )
    except runner.FuzzerBroken as error:
        return Outcome.doubt("fuzz", title, str(error))
    findings = list(dict.fromkeys(tally.failures))
    detail = f"{tally.requests} requests, {tally.checks.total()} checks, seed {order.seed}"
    check = Check("fuzz", title, Status.PASS, detail)
    if code != 0:
        faults = findings + tally.errors or ["a warning counts as a finding"]
        # An error alone is Schemathesis' own, or a hook's.
        status = Status.FAIL if findings or not tally.errors else Status.INCONCLUSIVE
        for fault in faults[:SHOWN]:
            order.say(f"  {fault}")
        check = Check("fuzz", title, status, f"{detail}; {', '.join(runner.PARTS)}.txt: {'; '.join(faults[:3])}"[:600])
    operations = acceptance_rate.with_input(scope.document(order.needs_target()))
    slowest = tally.slowest()
    order.say("slowest: " + ", ".join(f"{what} {took_s:.1f} s" for what, took_s in slowest))
    return Outcome(
        [check, *_left_out(order), *acceptance_rate.checks(tally, operations, order.examples)],
        acceptance_rate.valid_rates(tally, acceptance_rate.read_limits()),
        {
            "examples per operation": order.examples,
            "requests": tally.requests,
            "checks run": tally.checks.total(),
            "findings": len(findings),
            "slowest, s": ", ".join(f"{what} {took_s:.1f}" for what, took_s in slowest[:3]),
        },
        [name for part in runner.PARTS for name in runner.files(part) if (order.folder / name).is_file()],
        tally=tally,
    )


def _left_out(order: Order) -> list[Check]:
    tags = scope.left_out(order.needs_target())
    given = "needs DATABASE_URL (the owner's)"
    why = {
        **dict.fromkeys(scope.SANDBOXES, f"{given} and NEXMDM_PROVIDER_CONTROL_URL"),
        **dict.fromkeys(scope.PLATFORM, given),
    }
    return [Check(f"fuzz/{tag}", "its operations were tested", Status.DISABLED, why[tag]) for tag in tags]


STEPS: Final[dict[str, Callable[[Order], Outcome]]] = {
    "lint": run_lint,
    "drift": run_drift,
    "fuzz": run_fuzz,
}
