"""The faults that a check of the verifier has found, and the check that they make."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from harness.verdict.thresholds import Check, Status

TOLD: Final = 5


class Faults:
    """All are counted, the first ones kept."""

    def __init__(self, told: Iterable[str] = (), count: int = 0) -> None:
        """told: the first of `count` that are known already."""
        self.told = list(told)
        self.count = count

    def add(self, text: str) -> None:
        """One more."""
        self.count += 1
        if len(self.told) < TOLD:
            self.told.append(text)

    def extend(self, texts: Iterable[str]) -> None:
        """Some more."""
        for text in texts:
            self.add(text)

    def check(self, check_id: str, title: str, looked_at: str) -> Check:
        """Failed where there is a fault, else passed. looked_at: what there was to look at, for people."""
        if not self.count:
            return Check(check_id, title, Status.PASS, looked_at)
        more = f"; and {self.count - len(self.told):,} more" if self.count > len(self.told) else ""
        faults = f"{self.count:,} {'fault' if self.count == 1 else 'faults'} in {looked_at}"
        return Check(check_id, title, Status.FAIL, f"{faults}: {'; '.join(self.told)}{more}")


def nothing(check_id: str, title: str, what: str) -> Check:
    """A check that had nothing to judge in a record that is not empty: it is no pass, and spoils none."""
    return Check(check_id, title, Status.DISABLED, f"there was no {what}")
