"""The steps of the contract suite and the order they run in. It prints nothing but through the `say` it is given."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from contracts import drift, fuzz, lint, valid_rate
from contracts.coverage import matrix
from contracts.scrub import scrub
from contracts.spec import ROOT, Document
from contracts.tally import Tally
from harness import report
from harness.budgets import Check, Judgement, Status, Verdict, judge
from harness.settings import SECRETS, Target, backend_command

SUITE: Final = "contract"
CURATED: Final = {
    "raw": ("contracts/test_raw_bytes.py", "contracts/test_raw_targets.py"),
    "signature": ("contracts/test_signature.py",),
}
Say = Callable[[str], None]


@dataclass
class Run:
    """One run: what it was asked for, and what came of it so far."""

    target: Target | None
    folder: Path
    examples: int
    seed: int
    say: Say
    progress: Say
    environ: dict[str, str]
    checks: list[Check] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    facts: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    tally: Tally | None = None

    def needs_target(self) -> Target:
        if self.target is None:
            raise LookupError("this step needs a target")
        return self.target

    def found(self, name: str, title: str, faults: Sequence[str], clean: str) -> None:
        """A check that fails on any fault; the faults go to a file too, since a summary shows only the first."""
        if not faults:
            self.checks.append(Check(name, title, Status.PASS, clean))
            return
        file = f"{name}.txt"
        report.write_text(self.folder / file, "\n".join(faults) + "\n")
        self.files.append(file)
        shown = "; ".join(faults[:3])
        self.checks.append(Check(name, title, Status.FAIL, f"{len(faults)} in {file}: {shown}"[:600]))
        for fault in faults[:20]:
            self.say(f"  {fault}")


def step_lint(run: Run) -> None:
    title = "openapi.yaml is clean"
    try:
        faults = lint.findings()
    except lint.LinterUnavailable as error:
        run.checks.append(Check("lint", title, Status.INCONCLUSIVE, str(error)))
        return
    run.found("lint", title, faults, f"openapi-spec-validator, Redocly {lint.REDOCLY_VERSION}, house rules")


def step_drift(run: Run) -> None:
    title = "openapi.yaml says what the code does, both ways"
    faults: list[str] = []
    compared: list[str] = []
    try:
        if run.environ.get("NEXMDM_BACKEND_COMMAND"):
            faults += drift.drift(Document.read(), drift.code_document(backend_command(run.environ)))
            compared.append("the code's routes")
        if run.target is not None:
            faults += drift.served_drift(run.target)
            compared.append("the served document")
    except drift.NothingToCompare as error:
        run.checks.append(Check("drift", title, Status.INCONCLUSIVE, str(error)))
        return
    if "the code's routes" not in compared:
        detail = "NEXMDM_BACKEND_COMMAND is not set: the code was not looked at"
        run.checks.append(Check("drift/code", title, Status.DISABLED, detail))
    run.found("drift", title, faults, f"against {' and '.join(compared)}")


def step_raw(run: Run) -> None:
    _pytest(run, "raw", "hostile bytes get their one right answer")


def step_signature(run: Run) -> None:
    _pytest(run, "signature", "the signature is compared and bound to timestamp and body")


def _pytest(run: Run, name: str, title: str) -> None:
    """Curated cases in a pytest process of their own, judged by its report."""
    run.needs_target()
    junit, output = run.folder / f"{name}.junit.xml", run.folder / f"{name}.txt"
    junit.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={junit}", *CURATED[name]]
    with output.open("w", encoding="utf-8") as sink:
        done = subprocess.run(command, cwd=ROOT, env=run.environ, stdout=sink, stderr=subprocess.STDOUT, check=False)
    for path in (junit, output):
        if path.is_file():
            scrub(path, SECRETS)
            run.files.append(path.name)
    if done.returncode not in (0, 1) or not junit.is_file():
        tail = " ".join(output.read_text(encoding="utf-8").split())[-300:]
        run.checks.append(Check(name, title, Status.INCONCLUSIVE, f"pytest exited with {done.returncode}: {tail}"))
        return
    cases = list(ET.parse(junit).iter("testcase"))  # noqa: S314 - our own pytest wrote it
    failed = [case.get("name", "?") for case in cases if case.find("failure") is not None]
    # An error is a fixture that broke, a skip a case that did not run: neither says anything about the service.
    void = [c.get("name", "?") for c in cases if c.find("error") is not None or c.find("skipped") is not None]
    run.facts[f"{name} cases"] = len(cases)
    for case in failed[:20]:
        run.say(f"  failed: {case}")
    detail = f"{len(cases)} cases" + f", {len(failed)} failed: {'; '.join(failed[:3])}"[:400] * bool(failed)
    if failed:
        run.checks.append(Check(name, title, Status.FAIL, detail))
    elif void or not cases:
        run.checks.append(Check(name, title, Status.INCONCLUSIVE, f"{len(void)} did not run: {'; '.join(void[:3])}"))
    else:
        run.checks.append(Check(name, title, Status.PASS, detail))


def step_fuzz(run: Run) -> None:
    title = "Schemathesis: all phases, all checks, no finding"
    run.facts |= {"examples per operation": run.examples, "schemathesis": version("schemathesis")}
    try:
        code, tally = fuzz.run(
            run.needs_target(), run.folder, examples=run.examples, seed=run.seed, progress=run.progress
        )
    except fuzz.FuzzerBroken as error:
        run.checks.append(Check("fuzz", title, Status.INCONCLUSIVE, str(error)))
        return
    finally:
        run.files += [name for part in fuzz.PARTS for name in fuzz.files(part) if (run.folder / name).is_file()]
    findings = list(dict.fromkeys(tally.failures))
    run.facts |= {"requests": tally.requests, "checks run": tally.checks.total(), "findings": len(findings)}
    detail = f"{tally.requests} requests, {tally.checks.total()} checks, seed {run.seed}"
    if code == 0:
        run.checks.append(Check("fuzz", title, Status.PASS, detail))
    else:
        faults = findings + tally.errors or ["a warning counts as a finding"]
        status = Status.FAIL if findings or not tally.errors else Status.INCONCLUSIVE
        for fault in faults[:20]:
            run.say(f"  {fault}")
        run.checks.append(
            Check("fuzz", title, status, f"{detail}; see fuzz-*.txt, stateful.txt: {'; '.join(faults[:3])}"[:600])
        )
    _rate(run, tally)


def _rate(run: Run, tally: Tally) -> None:
    run.tally = tally
    with_input = [op.id for op in Document.read().operations() if op.parameters or "requestBody" in op.definition]
    run.checks += valid_rate.checks(tally, with_input, run.examples)
    run.judgements += valid_rate.valid_rates(tally, valid_rate.read_limits())


STEPS: Final[dict[str, Callable[[Run], None]]] = {
    "lint": step_lint,
    "drift": step_drift,
    "signature": step_signature,
    "raw": step_raw,
    "fuzz": step_fuzz,
}


def execute(run: Run, steps: Sequence[str]) -> Verdict:
    """Run the steps, write result.json and summary.md, return the verdict."""
    begun = time.time()
    for old in run.folder.iterdir():
        if old.is_file():
            old.unlink()
    if run.target is not None:
        SECRETS.add(run.target.admin_key, run.target.hmac_secret)
    for name in steps:
        before, started = len(run.checks), time.monotonic()
        run.say(f"{name} ...")
        try:
            STEPS[name](run)
        except Exception as error:  # noqa: BLE001 - whatever broke here is ours: inconclusive, never the product's failure
            report.write_text(run.folder / "broken.txt", SECRETS.mask(traceback.format_exc()))
            run.files.append("broken.txt")
            detail = f"{type(error).__name__}: {error}; see broken.txt"
            run.checks.append(Check(f"{name}/broken", "the step itself ran", Status.INCONCLUSIVE, SECRETS.mask(detail)))
        took = time.monotonic() - started
        run.facts[f"{name} s"] = round(took, 1)
        for check in run.checks[before:]:
            run.say(f"{check.status.value}: {check.id}: {SECRETS.mask(check.detail)} ({took:.1f} s)")
    curated = {name: path for name in CURATED if (path := run.folder / f"{name}.seen.json").is_file()}
    if run.tally is not None or curated:
        seen = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in curated.items()}
        text = json.dumps(matrix(Document.read(), run.tally, seen), indent=2)
        report.write_text(run.folder / "coverage.json", text + "\n")
        run.files.append("coverage.json")
    verdict = judge(run.judgements, run.checks)
    envelope = report.Envelope(
        SUITE,
        begun,
        time.time(),
        verdict,
        run.judgements,
        run.checks,
        seed=run.seed,
        versions={"schemathesis": version("schemathesis"), "redocly": lint.REDOCLY_VERSION},
        capabilities=run.target.capabilities if run.target else (),
        facts=run.facts,
        notes=[f"Again: python -m contracts --examples {run.examples} --seed {run.seed}"],
        files=run.files,
    )
    report.write_result(run.folder, envelope)
    return verdict
