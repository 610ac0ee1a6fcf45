"""The gate over the fuzzer's counts: every operation was reached with valid requests that succeeded, none failed.

It looks at no single answer: that is what Schemathesis' checks do.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from contracts.fuzz.tally import Tally
from harness.http.openapi import Document
from harness.verdict.thresholds import Check, Judgement, Limit, Status

MOST_LUCK: Final = 0.01  # a share that is too low by chance more often than this blames nobody
LIMITS: Final = Path(__file__).with_name("limits.toml")


def read_limits(path: Path = LIMITS) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def valid_rates(tally: Tally, limits: Mapping[str, Any]) -> list[Judgement]:
    """One judgement per operation: the share of valid requests that reached a 2xx, a call of JSON-RPC a result."""
    unknown = sorted(set(limits.get("operations", {})) - set(tally.answers))
    if unknown:
        raise ValueError(f"limits.toml names operations that openapi.yaml does not have: {', '.join(unknown)}")
    judged = []
    for name in sorted(tally.answers):
        own = {**limits["default"], **limits.get("operations", {}).get(name, {})}
        sent = tally.valid[name].total()
        limit = Limit(
            f"{name}: valid requests that succeed",
            "",
            ">=",
            own["min_share"],
            min_n=own["min_valid"],
            source="share of positive cases answered 2xx, or with a result",
        )
        accepted = tally.accepted(name)
        share = limit.judge_value(accepted / sent if sent else None, sent)
        if share.status is Status.FAIL and (luck := luck_of(accepted, sent, own["min_share"])) > MOST_LUCK:
            share = share.voided(f"{accepted} of {sent}: too few cases to judge (chance {luck:.0%}); more --examples")
        judged.append(share)
    return judged


def luck_of(accepted: int, sent: int, share: float) -> float:
    """The chance that so few of so many succeed, or fewer, where each succeeds with this chance."""

    def chance(k: int) -> float:
        ways = math.lgamma(sent + 1) - math.lgamma(k + 1) - math.lgamma(sent - k + 1)
        return math.exp(ways + k * math.log(share) + (sent - k) * math.log1p(-share))

    return sum(chance(k) for k in range(accepted + 1))


def with_input(document: Document) -> list[str]:
    """The operations that are fuzzed as often as a run is asked to; of one without input there is a single request."""
    return [op.id for op in document.operations() if op.parameters or "requestBody" in op.definition]


def checks(tally: Tally, operations: Iterable[str], examples: int) -> list[Check]:
    """Every operation tested, as often as asked for where it takes input; no 5xx; all answered; run to the end."""
    thin = sorted(f"{name} {tally.fuzzed[name]}" for name in operations if tally.fuzzed[name] < examples)
    # Hypothesis stops early, and says nothing, when equal choices fare differently.
    few = [f"only {tally.scenarios} did"] * (tally.scenarios < examples)
    untested = sorted(name for name, answers in tally.answers.items() if not answers)
    return [
        _check("fuzz/operations", "every operation was tested", untested, f"{len(tally.answers)} operations"),
        _doubt("fuzz/examples", f"every operation with input was fuzzed {examples} times", thin),
        _doubt("fuzz/scenarios", f"{examples} scenarios ran", few, f"{tally.scenarios} scenarios"),
        _check("fuzz/5xx", "no answer was a 5xx", tally.server_errors(), f"{tally.requests} requests"),
        _check(
            "fuzz/answered", "every request was answered", [f"{tally.unanswered} were not"] * bool(tally.unanswered)
        ),
        _complete(tally),
    ]


def _check(name: str, title: str, faults: list[str], found: str = "") -> Check:
    return Check(name, title, Status.FAIL if faults else Status.PASS, "; ".join(faults) or found)


def _complete(tally: Tally) -> Check:
    missing = {"examples", "coverage", "fuzzing", "stateful"} - set(tally.phases)
    doubts = [f"no request in phase {name}" for name in sorted(missing)] + ["it stopped early"] * bool(tally.unfinished)
    ran = ", ".join(f"{name} {count}" for name, count in sorted(tally.phases.items()))
    return _doubt("fuzz/complete", "all phases ran to their end", doubts, ran)


def _doubt(name: str, title: str, doubts: list[str], found: str = "") -> Check:
    return Check(name, title, Status.INCONCLUSIVE if doubts else Status.PASS, "; ".join(doubts) or found)
