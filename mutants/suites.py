"""How a suite is run against one backend, and which of its checks failed. It knows no mutant."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SCENARIOS: Final[Mapping[str, Sequence[str]]] = {
    "sim20": ("--duration", "15s"),
    "fleet100": ("--duration", "150s", "--compress", "10"),
    "fanout": ("--devices", "200", "--rounds", "1"),
    "fleet-scale": ("--devices", "1000", "--duration", "5s"),
    "capacity": ("--devices", "2000", "--stage", "2s"),
    "soak": ("--devices", "1000", "--duration", "30s"),
    "platform-writes-one": ("--rate", "300", "--duration", "5s"),  # so often that requests meet in a zone
    "scheduler-one": ("--rate", "60", "--duration", "5s"),
    "agents": ("--rate", "100", "--duration", "5s"),
}
"""Those of load, each as short and small as what its mutants break still shows."""
NAMES: Final = ("acceptance", "chaos", "contract", *SCENARIOS)
MOST: Final = {"chaos": 2, "contract": 1} | dict.fromkeys(SCENARIOS, 1)
"""How many runs at a time of a suite that measures time under load, or fills the machine by itself."""
ENVIRONMENTS: Final = ("acceptance", "contracts", "load")
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


def environment(suite: str) -> str:
    """The environment whose Python runs it: a name of .nox."""
    if suite in SCENARIOS:
        return "load"
    return "contracts" if suite == "contract" else "acceptance"


def command(suite: str, checks: Sequence[str], pythons: Mapping[str, str]) -> list[str]:
    """argv of the suite, where pythons is by environment; no checks: all of it."""
    python = pythons[environment(suite)]
    if suite == "chaos":
        # One process: its cases measure how long recovery takes, and each starts a system of its own.
        where = [str(path) for path in _files(checks, CASES / "chaos")] or ["acceptance/chaos"]
        options = [*_WITHOUT, "--suite", "chaos", "--sample"]
        return [python, "-m", "pytest", "-q", *options, *where, *_each("--case", checks)]
    if suite == "acceptance":
        return [python, "-m", "pytest", *cases(checks)]
    if suite in SCENARIOS:
        beside = [python, "-m", "harness", "run", "--workers", "2", "--", python]
        return [*beside, "-m", "load", suite, *SCENARIOS[suite]]
    steps = sorted({check.partition("/")[0] for check in checks})
    beside = [python, "-m", "harness", "run", "--", python]
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
