"""`python -m contracts`: the whole contract suite against the target in the environment. It starts no service.

Start one beside it with `python -m harness run -- python -m contracts`. Exit codes: 0 clean, 1 the contract is broken,
2 nothing can be said (the harness broke, or too little was tested).
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Sequence

from contracts.fuzz.acceptance_rate import with_input
from contracts.steps import STEPS, Order
from contracts.suite import SUITE, execute
from harness import preflight
from harness.http.openapi import Document
from harness.options import positive
from harness.settings import SettingsError, artifacts
from harness.verdict.console import Console
from harness.verdict.thresholds import exit_code

# Of the fuzzing phase in all, so that a run keeps its time as operations are added; the least that tells an operation.
ALL_EXAMPLES = 2700
LEAST_EXAMPLES = 30
DEFAULT_SEED = 20261120
WITHOUT_TARGET = ("lint",)


def _seed(text: str) -> int:
    return secrets.randbelow(2**31) if text == "random" else int(text)


def default_examples(operations: int) -> int:
    """For each operation that takes input. Nightly runs ask for more."""
    return max(LEAST_EXAMPLES, ALL_EXAMPLES // operations)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m contracts", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--examples",
        type=positive,
        default=default_examples(len(with_input(Document.read()))),
        metavar="N",
        help=f"per operation and phase (default %(default)s: {ALL_EXAMPLES} in all, at least {LEAST_EXAMPLES})",
    )
    parser.add_argument(
        "--seed", type=_seed, default=DEFAULT_SEED, metavar="S", help="a number or `random` (default %(default)s)"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(STEPS),
        metavar="STEP",
        help=f"one of {', '.join(STEPS)}; may be repeated",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    console = Console(SUITE)
    steps = given.only or list(STEPS)
    try:
        target = None if set(steps) <= set(WITHOUT_TARGET) else preflight.given_target()
    except SettingsError as error:
        console.say(f"inconclusive: {error}")
        return 2
    folder = artifacts(SUITE)
    order = Order(target, folder, given.examples, given.seed, console.say, console.progress, dict(os.environ))
    console.say(f"seed {given.seed}, {given.examples} examples, steps {', '.join(steps)}")
    verdict = execute(order, steps)
    for reason in verdict.reasons:
        console.say(f"  {reason}")
    console.say(f"{verdict.status.value}: {folder / 'summary.md'}")
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(exit_code(main))
