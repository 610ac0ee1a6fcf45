"""The artifacts of a run: the JSON envelope, summary.md, device timelines. It decides nothing: thresholds.py judges.

Every JSON artifact is validated against its schema before it is written, and files are replaced whole: a
reader never meets half of one, nor one that its schema would refuse.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator

from harness.verdict.thresholds import Check, Judgement, Status, Verdict

ROOT: Final = Path(__file__).resolve().parents[2]
SCHEMAS: Final = ROOT / "harness" / "schemas" / "artifacts"
_OK: Final = {
    Status.PASS: True,
    Status.FAIL: False,
    Status.TARGET_MISSED: False,
    Status.INCONCLUSIVE: None,
    Status.DISABLED: None,
}
_WORDS: Final = {
    Status.PASS: "ok",
    Status.FAIL: "**FAILED**",
    Status.TARGET_MISSED: "**target missed**",
    Status.INCONCLUSIVE: "*inconclusive*",
    Status.DISABLED: "disabled",
}


class ArtifactError(ValueError):
    """A document that its own schema refuses: the harness is at fault, and nothing was written."""


@dataclass(frozen=True)
class Moment:
    """Something that happened to one device, at `at` (seconds since the epoch)."""

    event: str
    at: float
    status: int | None = None
    request_id: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Timeline:
    device: str
    device_id: str | None
    moments: Sequence[Moment]

    def first(self, event: str) -> float | None:
        return next((moment.at for moment in self.moments if moment.event == event), None)

    def count(self, event: str) -> int:
        return sum(moment.event == event for moment in self.moments)


@dataclass
class Envelope:
    """What result.json says about a run. `facts` are plain figures worth reading; `files` stand beside it."""

    suite: str
    started_at: float
    ended_at: float
    verdict: Verdict
    judgements: Sequence[Judgement] = ()
    checks: Sequence[Check] = ()
    seed: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    capabilities: Iterable[str] = ()
    facts: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    notes: Sequence[str] = ()
    files: Sequence[str] = ()

    def document(self) -> dict[str, Any]:
        return {
            "suite": self.suite,
            "verdict": self.verdict.status.value,
            "exit_code": self.verdict.exit_code,
            "reasons": list(self.verdict.reasons),
            "git_sha": git_sha(),
            "seed": self.seed,
            "versions": {"python": platform.python_version(), **self.versions},
            "platform": platform.platform(terse=True),
            "cpu_count": os.cpu_count() or 1,
            "started_at": timestamp(self.started_at),
            "ended_at": timestamp(self.ended_at),
            "wall_s": round(max(self.ended_at - self.started_at, 0.0), 3),
            "capabilities": sorted(self.capabilities),
            "limits": [_limit(judged) for judged in self.judgements],
            "checks": [
                {"id": c.id, "title": c.title, "status": c.status.value, "detail": c.detail} for c in self.checks
            ],
            "facts": dict(self.facts),
            "notes": list(self.notes),
            "files": list(self.files),
        }


def timestamp(at: float) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@cache
def git_sha() -> str | None:
    """The commit under test, `+dirty` when the tree differs; None outside a repository or before its first commit."""
    try:
        sha = _git("rev-parse", "--verify", "HEAD")
        return f"{sha}+dirty" if _git("status", "--porcelain", "--untracked-files=no") else sha
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def _limit(judged: Judgement) -> dict[str, Any]:
    limit = judged.limit
    return {
        "name": limit.name,
        "unit": limit.unit,
        "op": limit.op,
        "value": limit.value,
        "observed": None if judged.observed is None else round(judged.observed, 4),
        "n": judged.n,
        "min_n": limit.needed_n,
        "full_n": max(limit.full_n, limit.needed_n),
        "ok": _OK[judged.status],
        "status": judged.status.value,
        "source": limit.source,
        "note": judged.note,
    }


def validate(document: Any, schema: str) -> None:
    """Raise ArtifactError, naming the places, unless <schema>.schema.json accepts the document."""
    text = (SCHEMAS / f"{schema}.schema.json").read_text(encoding="utf-8")
    errors = sorted(Draft202012Validator(json.loads(text)).iter_errors(document), key=lambda error: list(error.path))
    if errors:
        places = "; ".join(f"{error.json_path}: {error.message}"[:300] for error in errors[:5])
        raise ArtifactError(f"{schema}: {places}")


def write_json(path: Path, document: Any, schema: str) -> None:
    validate(document, schema)
    # allow_nan=False: NaN and Infinity are not JSON, though Python would write them.
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def write_result(directory: Path, envelope: Envelope) -> dict[str, Any]:
    """result.json and summary.md. Returns the document."""
    document = envelope.document()
    write_json(directory / "result.json", document, "result")
    write_text(directory / "summary.md", summary(document))
    return document


def summary(document: Mapping[str, Any]) -> str:
    """The envelope as Markdown for people: verdict and reasons first, then figures, then how they came about."""
    sign = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️"}[document["verdict"]]
    sha = document["git_sha"]
    lines = [f"# {sign} {document['suite']}: {document['verdict']}", ""]
    lines += [f"- {reason}" for reason in document["reasons"]] + ([""] if document["reasons"] else [])
    if document["limits"]:
        lines += ["| limit | observed | wanted | n | |", "|---|---:|---:|---:|---|"]
        lines += [_limit_row(limit) for limit in document["limits"]] + [""]
    if document["checks"]:
        lines += ["| check | | found | |", "|---|---|---|---|"]
        lines += [_check_row(check) for check in document["checks"]] + [""]
    lines += [f"- {_cell(name)}: {value}" for name, value in document["facts"].items()]
    lines += ["", *(f"> {note}" for note in document["notes"])]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    commit = f"commit {sha[:12]}{'+dirty' * sha.endswith('+dirty')}" if sha else "no commit"
    run = (f"seed {document['seed']}", document["started_at"], f"{document['wall_s']:g} s", commit)
    lines += ["", " · ".join((*run, f"{document['cpu_count']} CPUs", versions))]
    if document["files"]:
        lines += ["", "Beside this file: " + ", ".join(f"[{name}]({name})" for name in document["files"])]
    return "\n".join(lines) + "\n"


def _limit_row(limit: Mapping[str, Any]) -> str:
    observed = "none" if limit["observed"] is None else f"{limit['observed']:.4g} {limit['unit']}".rstrip()
    wanted = f"{limit['op']} {limit['value']:g} {limit['unit']}".rstrip()
    word = _WORDS[Status(limit["status"])] + (f": {limit['note']}" if limit["note"] else "")
    return f"| {_cell(limit['name'])} | {observed} | {wanted} | {limit['n']} | {_cell(word)} |"


def _check_row(check: Mapping[str, Any]) -> str:
    word = _WORDS[Status(check["status"])]
    return f"| {_cell(check['id'])} | {_cell(check['title'])} | {_cell(check['detail'])} | {word} |"


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def write_timelines(
    directory: Path, suite: str, started_at: float, timelines: Sequence[Timeline], milestones: Sequence[str]
) -> None:
    """timelines.json with every moment, timelines.csv with one row per device and a column per milestone.

    Times are milliseconds since `started_at`; a milestone that a device never reached is null (CSV: empty).
    """

    def since_ms(at: float | None) -> float | None:
        return None if at is None else round((at - started_at) * 1000, 1)

    def moment(m: Moment) -> dict[str, Any]:
        extra = {"status": m.status, "request_id": m.request_id, "detail": m.detail}
        return {"event": m.event, "t_ms": since_ms(m.at)} | {k: v for k, v in extra.items() if v is not None}

    rows: list[dict[str, Any]] = []
    for timeline in timelines:
        reached = {f"{name}_ms": since_ms(timeline.first(name)) for name in milestones}
        rows.append({"device": timeline.device, "device_id": timeline.device_id, **reached})
    devices = [
        {
            "device": timeline.device,
            "device_id": timeline.device_id,
            "milestones": {name: since_ms(timeline.first(name)) for name in milestones},
            "moments": [moment(m) for m in sorted(timeline.moments, key=lambda m: m.at)],
        }
        for timeline in timelines
    ]
    document = {"suite": suite, "started_at": timestamp(started_at), "devices": devices}
    write_json(directory / "timelines.json", document, "timelines")
    table = io.StringIO()
    writer = csv.DictWriter(table, ["device", "device_id", *(f"{name}_ms" for name in milestones)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(directory / "timelines.csv", table.getvalue())
