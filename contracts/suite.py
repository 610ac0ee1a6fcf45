"""One run of the contract suite: the steps side by side, then coverage.json, result.json and summary.md.

It finds nothing itself, and prints nothing but through the `say` of the order.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Final

from contracts import steps
from contracts.coverage import matrix
from contracts.fuzz import scope
from contracts.lint import linters
from contracts.steps import Order, Outcome
from contracts.sweep import Sweep
from harness.settings import SECRETS
from harness.verdict import artifacts
from harness.verdict.thresholds import Check, Status, Verdict, judge

SUITE: Final = "contract"
# The fuzzer takes minutes and the others seconds: they go one after another beside it.
SIDE_BY_SIDE: Final = 2


def execute(order: Order, names: Sequence[str]) -> Verdict:
    """Run the named steps, write the artifacts, return the verdict."""
    begun = time.time()
    for old in order.folder.iterdir():
        if old.is_file():
            old.unlink()
    if order.target is not None:
        SECRETS.add(order.target.admin_key, order.target.hmac_secret)
    sweep = Sweep(order.target, order.folder)
    longest_first = sorted(names, key=lambda name: name != "fuzz")
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        running = {name: pool.submit(_run_step, order, name) for name in longest_first}
    outcomes = {name: running[name].result() for name in names}
    judgements = [judged for outcome in outcomes.values() for judged in outcome.judgements]
    files = [file for outcome in outcomes.values() for file in outcome.files]
    files += _write_coverage(order, outcomes)
    checks = [check for outcome in outcomes.values() for check in outcome.checks] + sweep.checks()
    verdict = judge(judgements, checks)
    envelope = artifacts.Envelope(
        SUITE,
        begun,
        time.time(),
        verdict,
        judgements,
        checks,
        seed=order.seed,
        versions={"schemathesis": version("schemathesis"), "redocly": linters.REDOCLY_VERSION},
        capabilities=order.target.capabilities if order.target else (),
        facts={name: fact for outcome in outcomes.values() for name, fact in outcome.facts.items()},
        notes=[f"Again: python -m contracts --examples {order.examples} --seed {order.seed}"],
        files=files,
    )
    artifacts.write_result(order.folder, envelope)
    return verdict


def _run_step(order: Order, name: str) -> Outcome:
    started = time.monotonic()
    order.say(f"{name} ...")
    try:
        outcome = steps.STEPS[name](order)
    except Exception as error:  # noqa: BLE001 - whatever broke here is ours: inconclusive, never the product's failure
        file = f"{name}.broken.txt"
        artifacts.write_text(order.folder / file, SECRETS.mask(traceback.format_exc()))
        detail = SECRETS.mask(f"{type(error).__name__}: {error}; see {file}")
        outcome = Outcome([Check(f"{name}/broken", "the step itself ran", Status.INCONCLUSIVE, detail)], files=[file])
    took_s = time.monotonic() - started
    outcome.facts[f"{name} s"] = round(took_s, 1)
    for check in outcome.checks:
        order.say(f"{check.status.value}: {check.id}: {SECRETS.mask(check.detail)} ({took_s:.1f} s)")
    return outcome


def _write_coverage(order: Order, outcomes: dict[str, Outcome]) -> list[str]:
    tally = outcomes["fuzz"].tally if "fuzz" in outcomes else None
    if tally is None:
        return []
    text = json.dumps(matrix(scope.document(order.needs_target()), tally), indent=2)
    artifacts.write_text(order.folder / "coverage.json", text + "\n")
    return ["coverage.json"]
