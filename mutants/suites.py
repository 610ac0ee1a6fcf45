"""How a suite is run against one backend, and which of its checks failed. It knows no mutant."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

NAMES: Final = ("acceptance", "chaos", "contract", "sim20", "platform-writes-one", "scheduler-one", "agents")
_RATES: Final = {
    "platform-writes-one": "300",
    "scheduler-one": "60",
    "agents": "100",
}  # requests a second, at which requests meet in a zone
MOST: Final = {"chaos": 2, "contract": 1, "sim20": 1, "platform-writes-one": 1, "scheduler-one": 1, "agents": 1}
"""How many runs at a time of a suite that measures time under load, or fills the machine by itself."""
CASES: Final = Path(__file__).resolve().parent.parent / "acceptance"
ANY_CASE: Final = "loop/001"
# What no case needs, and what takes half a second of each run to import.
_WITHOUT: Final = (
    "-p",
    "no:xdist",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:randomly",
    "-p",
    "no:anyio",
    "-p",
    "no:hypothesispytest",
)
_MARK: Final = re.compile(r'@case\(\s*"([^"]+)"')
_SLOW: Final = re.compile(r'@case\(\s*"([^"]+)"(?:(?!\ndef |@).)*?\bslow="', re.DOTALL)
_AT_ONCE: Final = 10
_LEFT_OUT: Final = frozenset({"tests", "chaos"})  # of acceptance: not among its cases


@dataclass(frozen=True)
class Run:
    """What a suite said: the failed checks with their detail, or `void`, why nothing can be concluded."""

    failed: Mapping[str, str]
    passed: frozenset[str]
    void: str = ""


def command(suite: str, checks: Sequence[str], pythons: Mapping[str, str]) -> list[str]:
    """argv of the suite; no checks: all of it."""
    python = pythons[suite]
    if suite == "chaos":
        # One process: its cases measure how long recovery takes, and each starts a system of its own.
        where = [str(path) for path in _files(checks, CASES / "chaos")] or ["acceptance/chaos"]
        options = [*_WITHOUT, "--suite", "chaos", "--sample"]
        return [python, "-m", "pytest", "-q", *options, *where, *_each("--case", checks)]
    if suite == "acceptance":
        return [python, "-m", "pytest", *cases(checks)]
    if suite in _RATES:
        beside = [python, "-m", "harness", "run", "--workers", "2", "--", python]
        return [*beside, "-m", "load", suite, "--rate", _RATES[suite], "--duration", "5s"]
    beside = [python, "-m", "harness", "run", "--", python]
    if suite == "sim20":
        return [*beside, "-m", "load", "sim20", "--duration", "15s"]
    steps = sorted({check.partition("/")[0] for check in checks})
    return [*beside, "-m", "contracts", "--examples", "30", *_each("--only", steps)]


def cases(checks: Sequence[str]) -> list[str]:
    """The arguments of pytest for these checks of acceptance; no checks: all of it."""
    named = [check for check in checks if check != "sweep"]
    # Nothing but the sweep was asked for: any case leaves rows and lines to look through.
    named = named or ([ANY_CASE] if checks else [])
    others = [f"--ignore=acceptance/{folder}" for folder in ("tests", "chaos")]
    where = [str(path) for path in _files(named)] or ["acceptance", *others]
    once = ["-x"] if len(checks) == 1 else []  # one red test of the named case is enough
    return ["-q", *_WITHOUT, *once, *where, *_each("--case", named)]


def groups(checks: Sequence[str], folder: Path = CASES) -> tuple[list[list[str]], list[list[str]]]:
    """These checks of acceptance as short runs: the slow cases, each alone; the others by file, to share a system."""
    wanted, slow, others = set(checks), [], []
    for path in sorted(folder.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        mine = [case_id for case_id in _MARK.findall(text) if case_id in wanted]
        wanted.difference_update(mine)
        waits = set(_SLOW.findall(text))
        slow += [[case_id] for case_id in mine if case_id in waits]
        quick = [case_id for case_id in mine if case_id not in waits]
        others += [quick[at : at + _AT_ONCE] for at in range(0, len(quick), _AT_ONCE)]
    return slow, [*others, *([check] for check in sorted(wanted))]


def _each(option: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in (option, value)]


def _files(cases: Sequence[str], folder: Path = CASES) -> list[Path]:
    """Where these cases stand: collecting all of the suite takes a second of each run."""
    wanted = set(cases)
    return [
        path
        for path in sorted(folder.rglob("test_*.py"))
        if not _LEFT_OUT & {*path.relative_to(folder).parts} and wanted.intersection(_MARK.findall(path.read_text()))
    ]


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
