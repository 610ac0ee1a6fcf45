"""The matrix operation x status x case, from matrix.json. It judges no gap: the coverage gate does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Proof:
    """A case that is about an answer. `outcome`: passed, failed, disabled or skipped."""

    case: str
    outcome: str
    requirement: str
    reason: str


@dataclass(frozen=True)
class Cell:
    """What is known of one documented answer; no proofs at all is a gap."""

    proofs: list[Proof]

    @property
    def passed(self) -> int:
        return sum(proof.outcome == "passed" for proof in self.proofs)

    @property
    def state(self) -> str:
        """failed, passed, open (only disabled or skipped cases) or gap."""
        outcomes = {proof.outcome for proof in self.proofs}
        return next((state for state in ("failed", "passed") if state in outcomes), "open" if outcomes else "gap")

    @property
    def ids(self) -> str:
        return ", ".join(f"{proof.case} {proof.outcome}" for proof in self.proofs) or "no case"


@dataclass(frozen=True)
class Grid:
    statuses: list[str]
    rows: dict[str, dict[str, Cell]]

    def count(self, state: str) -> int:
        return sum(cell.state == state for row in self.rows.values() for cell in row.values())


def grid(matrix: Mapping[str, Any]) -> Grid:
    """Every documented answer, with the passing cases that prove it and the others that say to be about it."""
    proofs = {
        one["case"]: Proof(one["case"], one["outcome"], one["requirement"], one["reason"]) for one in matrix["cases"]
    }
    others: dict[tuple[str, str], list[str]] = {}
    for one in matrix["cases"]:
        if one["outcome"] == "passed":
            continue
        about = {(operation, answer) for operation, answer in one["proved"]}
        about |= {(operation, status) for operation, _, status in (text.partition(" ") for text in one["unseen"])}
        for pair in about:
            others.setdefault(pair, []).append(one["case"])
    rows = {
        operation: {
            status: Cell([proofs[case] for case in [*passing, *others.get((operation, status), [])] if case in proofs])
            for status, passing in answers.items()
        }
        for operation, answers in matrix["operations"].items()
    }
    return Grid(sorted({status for row in rows.values() for status in row}), rows)
