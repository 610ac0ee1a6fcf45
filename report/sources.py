"""The artifacts of one suite folder, read and checked against their schemas. It draws nothing.

Only result.json is needed. Every other file may be absent, and one that cannot be used says why in `unusable`: a
report must never fail a run.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from harness.verdict.artifacts import ArtifactError, validate

_MOST_FAILURES: Final = 50
_MOST_LINES: Final = 200
_MOST_CHARACTERS: Final = 20_000
_UNUSABLE: Final = (OSError, ValueError, KeyError, TypeError, RecursionError, ET.ParseError, csv.Error)


class ReportError(ValueError):
    """The folder holds no result.json, or one that its schema refuses."""


@dataclass(frozen=True)
class Failure:
    """A failed test case of a junit.xml, with the end of what it printed."""

    name: str
    case: str
    output: str


@dataclass
class Sources:
    """What a folder holds. A part is empty where its file is absent; `unusable` says by file name what was wrong."""

    directory: Path
    result: dict[str, Any]
    latency: dict[str, Any] = field(default_factory=dict)
    timelines: dict[str, Any] = field(default_factory=dict)
    mutants: dict[str, Any] = field(default_factory=dict)
    chaos: dict[str, Any] = field(default_factory=dict)
    students: dict[str, Any] = field(default_factory=dict)
    platform: dict[str, Any] = field(default_factory=dict)
    pool: dict[str, Any] = field(default_factory=dict)
    matrix: dict[str, Any] = field(default_factory=dict)
    matrix_from: str = ""
    samples: list[dict[str, str]] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    more_failures: int = 0
    log: str = ""
    absent: list[str] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)


def read(directory: Path) -> Sources:
    """All that a report can be made of. Raises ReportError for a missing or invalid result.json."""
    try:
        sources = Sources(directory, _json(directory / "result.json", "result"))
    except FileNotFoundError:
        raise ReportError(f"{directory}: no result.json: not the folder of a suite that ended") from None
    except (OSError, ValueError) as error:
        raise ReportError(f"{directory}/result.json: {str(error).splitlines()[0][:300]}") from error

    def part(name: str, reader: Callable[[Path], Any], folder: Path = directory) -> Any:
        path = folder / name
        try:
            return reader(path)
        except FileNotFoundError:
            sources.absent.append(name)
        except _UNUSABLE as error:
            sources.unusable[name] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        return None

    for name in ("latency", "timelines", "mutants", "chaos", "students", "platform", "pool"):
        setattr(sources, name, part(f"{name}.json", partial(_json, schema=name)) or {})
    own = (directory / "matrix.json").exists() or directory.resolve().name == "acceptance"
    beside = directory if own else directory.resolve().parent / "acceptance"
    sources.matrix = part("matrix.json", partial(_json, schema="matrix"), beside) or {}
    sources.matrix_from = "" if own else "../acceptance/"
    sources.samples = part("samples.csv", _table) or []
    sources.resources = part("resources.csv", _table) or []
    sources.log = part("failures.log", lambda path: tail(path.read_text(encoding="utf-8", errors="replace"))) or ""
    for path in sorted(directory.glob("*junit.xml")):
        sources.failures += part(path.name, _failures) or []
    sources.more_failures = max(len(sources.failures) - _MOST_FAILURES, 0)
    del sources.failures[_MOST_FAILURES:]
    return sources


def tail(text: str) -> str:
    """The end of a long output, which is where the reason stands, and a word on what was left out."""
    lines = text.strip("\n").split("\n")
    kept = "\n".join(lines[-_MOST_LINES:])[-_MOST_CHARACTERS:]
    left_out = len(lines) - kept.count("\n") - 1
    return f"({left_out} lines before these were left out)\n{kept}" if left_out else kept


def _json(path: Path, schema: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_float=_finite, parse_constant=_finite)
    except UnicodeDecodeError as error:
        raise ArtifactError(f"not UTF-8: {error.reason}") from error
    except json.JSONDecodeError as error:
        raise ArtifactError(f"not JSON: {error}") from error
    validate(document, schema)
    return dict(document)


def _finite(text: str) -> float:
    """Python reads NaN, Infinity and 1e999; no chart has a place for them."""
    value = float(text)
    if not math.isfinite(value):
        raise ArtifactError(f"not a finite number: {text[:20]}")
    return value


def _table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def _failures(path: Path) -> list[Failure]:
    found = []
    root = ET.fromstring(path.read_bytes())  # noqa: S314  # our own pytest wrote it; expat bounds entities
    for one in root.iter("testcase"):
        failed = [child for child in one if child.tag in ("failure", "error")]
        if not failed:
            continue
        case = next((p.get("value", "") for p in one.iter("property") if p.get("name") == "case"), "")
        printed = [child.text or "" for child in one if child.tag in ("system-out", "system-err")]
        texts = [child.text or child.get("message") or "" for child in failed] + printed
        name = f"{one.get('classname', '')}::{one.get('name', '')}".removeprefix("::")
        found.append(Failure(name, case, tail("\n".join(filter(None, texts)))))
    return found
