"""What a short run of a scenario may leave open in `nox -s tests` and `full`: a percentile with too few samples.

A whole run is not judged here: there a doubt is a doubt.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

SIM: Final = ("--duration", "30s")
FLEET: Final = ("--compress", "5")
DEMONSTRATION: Final = ("--duration", "20s")
SCENARIOS: Final = (SIM, FLEET)
"""The arguments of those that may leave something open."""


def holds_so_far(folder: Path, since: float) -> bool:
    """Whether each check and each limit of the result holds, and some percentile only has fewer samples than it wants.

    A generator that was late, a part that could not be looked at, a percentile beyond its limit: none of these. since:
    Unix time; what was written before is of another run.
    """
    file = folder / "result.json"
    if not file.exists() or file.stat().st_mtime < since:
        return False
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    open_limits = [limit for limit in result["limits"] if limit["status"] != "pass"]
    return (
        result["verdict"] == "inconclusive"
        and bool(open_limits)
        and len(result["reasons"]) == len(open_limits)
        and all(check["status"] == "pass" for check in result["checks"])
        and all(_holds_for_its_few(limit) for limit in open_limits)
    )


def _holds_for_its_few(limit: dict[str, Any]) -> bool:
    least = limit["full_n"] if limit["min_n"] is None else limit["min_n"]
    if limit["status"] != "inconclusive" or limit["op"] != "<" or not least <= limit["n"] < limit["full_n"]:
        return False
    return limit["observed"] is not None and bool(limit["observed"] < limit["value"])
