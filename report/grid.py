"""The matrix operation x answer x case, from matrix.json. It judges no gap: the coverage gate does."""

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


Rows = dict[str, dict[str, Cell]]


@dataclass(frozen=True)
class Table:
    """Operations whose answers have columns in common."""

    answers: list[str]
    rows: Rows

    @classmethod
    def of(cls, rows: Rows) -> Table:
        return cls(sorted({answer for row in rows.values() for answer in row}), rows)


@dataclass(frozen=True)
class Grid:
    rows: Rows

    @property
    def tables(self) -> list[Table]:
        """Apart those whose answers are statuses alone, and calls of JSON-RPC, which have codes of errors."""
        calls = {operation: row for operation, row in self.rows.items() if "result" in row}
        others = {operation: row for operation, row in self.rows.items() if operation not in calls}
        return [Table.of(rows) for rows in (others, calls) if rows]

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
        about |= {(operation, answer) for operation, _, answer in (text.partition(" ") for text in one["unseen"])}
        for pair in about:
            others.setdefault(pair, []).append(one["case"])
    rows = {
        operation: {
            answer: Cell([proofs[case] for case in [*passing, *others.get((operation, answer), [])] if case in proofs])
            for answer, passing in answers.items()
        }
        for operation, answers in matrix["operations"].items()
    }
    return Grid(rows)
