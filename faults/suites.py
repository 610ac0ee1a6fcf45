"""How a suite is run against one backend, and which of its checks failed. It deliberately knows no fault."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

NAMES: Final = ("acceptance", "contract", "sim20")


@dataclass(frozen=True)
class Run:
    """What a suite said: the failed checks with their detail, or `void`, why nothing can be concluded."""

    failed: Mapping[str, str]
    passed: frozenset[str]
    void: str = ""


def command(suite: str, checks: Sequence[str], pythons: Mapping[str, str], jobs: int) -> list[str]:
    """argv of the suite; no checks: all of it."""
    python = pythons[suite]
    if suite == "acceptance":
        chosen = [part for check in checks if check != "sweep" for part in ("--case", check)]
        # Nothing but the sweep was asked for: any case leaves rows and lines to look through.
        chosen = chosen or (["--case", "loop/001"] if checks else [])
        pytest = [python, "-m", "pytest", "acceptance", "--ignore=acceptance/tests", "-q", "-p", "no:cacheprovider"]
        return [*pytest, "-n", str(jobs if jobs > 1 else 0), *chosen]
    beside = [python, "-m", "harness", "run", "--", python]
    if suite == "sim20":
        return [*beside, "-m", "load", "sim20", "--duration", "30s"]
    steps = [part for check in sorted(checks) for part in ("--only", check.partition("/")[0])]
    return [*beside, "-m", "contracts", "--examples", "30", *steps]


def read(artifacts: Path, suite: str) -> Run:
    """What result.json of a suite says. A limit counts by its name, a check by its id."""
    try:
        document: dict[str, Any] = json.loads((artifacts / suite / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return Run({}, frozenset(), f"no result.json: {type(error).__name__}")
    found = [(check["id"], check["status"], check["detail"]) for check in document["checks"]]
    found += [
        (limit["name"], limit["status"], f"observed {limit['observed']} {limit['unit']}, n {limit['n']}")
        for limit in document["limits"]
    ]
    failed = {name: detail for name, status, detail in found if status == "fail"}
    return Run(failed, frozenset(name for name, status, _ in found if status == "pass"))
