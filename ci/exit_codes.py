"""The exit code of a run of several sessions: the worst of what they ran, where nox itself knows 0 and 1 alone.

1, the product failed, before 2, nothing can be said; 130 where somebody pressed Ctrl-C, for then the rest did not run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

PASSED: Final = 0
FAILED: Final = 1
INCONCLUSIVE: Final = 2
INTERRUPTED: Final = 130
_WORST_FIRST: Final = (INTERRUPTED, FAILED, INCONCLUSIVE, PASSED)

NOTED: list[int] = []
"""What the programs of this process's sessions ended with, unless with 0."""


def worst(nox_code: int, noted: Iterable[int]) -> int:
    """nox_code: what nox would end with. A program's other codes (a crash, a signal, wrong usage) prove nothing: 2."""
    if nox_code in (PASSED, INTERRUPTED):
        return nox_code
    known = {code if code in _WORST_FIRST else INCONCLUSIVE for code in noted}
    # A session that failed without a program's code is broken itself.
    return next((code for code in _WORST_FIRST if code in known), INCONCLUSIVE)
