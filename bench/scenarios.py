"""What other suites measure: the scenarios of `load`, run here on stacks of ours, and how long the last suites took.

It judges their figures by our own limits: theirs are the seeds', ours are tighter.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench.rig import Rig, Void
from harness.processes.child import Child
from harness.verdict.thresholds import Judgement, Limit, Status

_LEAST = 60  # beats; below a percentile's own number every one must be within the limit (harness/verdict/thresholds.py)
_TIMEOUT_MS = 10_000.0
_CLIENT = "python -m load sim20: answered - intended"
_FLEET = "python -m load fleet-scale: its own percentile"
SIM_P95: Final = Limit("20 devices: heartbeat p95", "ms", "<", 15, _LEAST, 0.95, source=_CLIENT)
SIM_P99: Final = Limit("20 devices: heartbeat p99", "ms", "<", 30, _LEAST, 0.99, source=_CLIENT)
FLEET_P99: Final = Limit("100,000 devices, 833/s: heartbeat p99", "ms", "<", 10, source=_FLEET)
FLEET_ERRORS: Final = Limit("100,000 devices, 833/s: error rate", "", "==", 0, source=_FLEET)
ACCEPTANCE: Final = Limit("acceptance suite", "s", "<", 60, source="wall_s of its last result.json")
CONTRACT: Final = Limit("contract suite", "s", "<", 60, source="wall_s of its last result.json")
FIRST_SIMULATION: Final = Limit("fresh clone to the end of the first simulation", "min", "<", 5)


def _load(rig: Rig, scenario: str, *options: str) -> tuple[Path, dict[str, Any]]:
    """Run a scenario beside a stack of its own: its folder and its result.json. Void when it leaves none."""
    if rig.plan.load_python is None:
        raise Void("needs --load-python, the Python of the load environment")
    folder = rig.plan.artifacts / scenario
    shutil.rmtree(folder, ignore_errors=True)
    with rig.another_stack() as stack:
        argv = [rig.plan.load_python, "-m", "load", scenario, *options, "--artifacts", str(folder)]
        child = Child(argv, env=os.environ | stack.target.as_env(), stdout=None, stderr=None)
        try:
            code = child.wait()
        finally:
            child.stop(10.0)
    try:
        return folder, json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except OSError:
        raise Void(f"`python -m load {scenario}` left no result.json, exit code {code}") from None


def sim20(rig: Rig) -> list[Judgement]:
    """The 20-device simulation, judged on its raw samples."""
    folder, document = _load(rig, "sim20", "--duration", f"{rig.plan.sim_duration_s:g}s")
    rig.facts["sim20: verdict, reasons"] = "; ".join([document["verdict"], *document["reasons"]])[:500]
    with (folder / "samples.csv").open(encoding="utf-8") as file:
        samples = [_latency_ms(row) for row in csv.DictReader(file) if row["kind"] in ("heartbeat", "duplicate")]
    judged = [limit.judge(samples) for limit in (SIM_P95, SIM_P99)]
    return _voided_by(judged, document, ("generator lag p99", "requests sent of plan"))


def _latency_ms(row: dict[str, str]) -> float:
    latency_ms = float(row["answered_ms"]) - float(row["intended_ms"])
    return latency_ms if row["status"] == "200" else max(latency_ms, _TIMEOUT_MS)


def _voided_by(judged: list[Judgement], document: dict[str, Any], guards: Sequence[str]) -> list[Judgement]:
    """What the generator itself was too late for proves nothing."""
    broken = [one["name"] for one in document["limits"] if one["name"] in guards and one["status"] != "pass"]
    return [one.voided(f"{broken[0]} does not hold") for one in judged] if broken else judged


def fleet(rig: Rig) -> list[Judgement]:
    """The fleet of 100,000, whose limits are taken as that scenario observed them."""
    _, document = _load(rig, "fleet-scale")
    rig.facts["fleet-scale: verdict, reasons"] = "; ".join([document["verdict"], *document["reasons"]])[:500]
    pairs = ((FLEET_P99, "heartbeat p99"), (FLEET_ERRORS, "heartbeat error rate"))
    return [taken_over(limit, document, name) for limit, name in pairs]


def taken_over(limit: Limit, document: dict[str, Any], name: str) -> Judgement:
    """Our limit on what another run observed under `name`; what that run could not judge, we cannot either."""
    theirs = next((one for one in document["limits"] if one["name"] == name), None)
    if theirs is None:
        return Judgement(limit, None, 0, Status.INCONCLUSIVE, f"its result.json has no limit {name!r}")
    if theirs["status"] in ("inconclusive", "disabled") or theirs["observed"] is None:
        return Judgement(limit, None, theirs["n"], Status.INCONCLUSIVE, theirs["note"] or f"it was {theirs['status']}")
    return limit.judge_value(theirs["observed"], theirs["n"])


def suites(rig: Rig) -> list[Judgement]:
    """How long the last runs of two suites took, as they wrote it down."""
    beside = rig.plan.artifacts.parent
    return [
        _wall(ACCEPTANCE, beside / "acceptance" / "result.json"),
        _wall(CONTRACT, beside / "contract" / "result.json"),
        FIRST_SIMULATION.disabled("needs a fresh clone and an empty cache: CI measures it"),
    ]


def _wall(limit: Limit, path: Path) -> Judgement:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return limit.disabled(f"no {path.parent.name}/result.json: run `nox -s {path.parent.name}` first")
    judged = limit.judge_value(float(document["wall_s"]), 1)
    of = f"commit {str(document['git_sha'])[:12]}, {document['started_at']}, verdict {document['verdict']}"
    return Judgement(judged.limit, judged.observed, judged.n, judged.status, of)
