"""Artifacts: what the schema refuses is never written, and what is written says what happened."""

from __future__ import annotations

import copy
import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from harness.verdict import artifacts
from harness.verdict.artifacts import (
    ArtifactError,
    Envelope,
    Moment,
    Timeline,
    summary,
    validate,
    write_json,
    write_result,
    write_timelines,
)
from harness.verdict.thresholds import Check, Limit, Status, judge

P95 = Limit("heartbeat p95", "ms", "<", 150, quantile=0.95, source="client")
ROWS = Check("heartbeat-rows", "one row per device and bucket", Status.PASS, "192 rows")


def envelope(latency_ms: float = 5.0, n: int = 200, *checks: Check) -> Envelope:
    judged = [P95.judge([latency_ms] * n)]
    return Envelope("sim20", 1000.0, 1121.5, judge(judged, checks), judged, checks, seed=7, files=["timelines.csv"])


def test_envelope_of_a_good_run_is_valid_and_complete(tmp_path: Path) -> None:
    document = write_result(tmp_path, envelope(5.0, 200, ROWS))
    assert json.loads((tmp_path / "result.json").read_text()) == document
    assert (document["verdict"], document["exit_code"], document["wall_s"], document["seed"]) == ("pass", 0, 121.5, 7)
    limit = document["limits"][0]
    assert (limit["observed"], limit["n"], limit["ok"], limit["min_n"]) == (5.0, 200, True, 200)


@pytest.mark.parametrize(
    "latency_ms,n,verdict", [(200.0, 200, "fail"), (5.0, 3, "inconclusive"), (0, 0, "inconclusive")]
)
def test_bad_runs_are_valid_artifacts_too(tmp_path: Path, latency_ms: float, n: int, verdict: str) -> None:
    document = write_result(tmp_path, envelope(latency_ms, n))
    assert document["verdict"] == verdict
    assert document["reasons"]
    assert document["reasons"][0] in (tmp_path / "summary.md").read_text()


def _set(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update(changes)


def _limit(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["limits"][0].update(changes)


def test_a_missed_target_stands_in_a_pass_with_its_reason(tmp_path: Path) -> None:
    document = envelope(5.0, 200, ROWS).document()
    document["limits"][0].update(status="target missed", ok=False)
    document["reasons"] = ["p95: 5 ms, wanted < 2 ms"]
    validate(document, "result")
    assert "**target missed**" in summary(document)
    with pytest.raises(ArtifactError):
        validate({**document, "limits": [{**document["limits"][0], "ok": True}]}, "result")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda d: d.pop("git_sha"), id="member missing"),
        pytest.param(_set(extra=1), id="member unknown"),
        pytest.param(_set(verdict="ok"), id="verdict unknown"),
        pytest.param(_set(exit_code=2), id="pass with exit code 2"),
        pytest.param(_set(limits=[], checks=[]), id="pass on nothing"),
        pytest.param(
            _set(limits=[], checks=[{"id": "a", "title": "a", "status": "disabled", "detail": ""}]),
            id="pass on disabled",
        ),
        pytest.param(_set(reasons=["p95 too high"]), id="pass with a reason"),
        pytest.param(_set(verdict="fail", exit_code=1, reasons=[]), id="fail without a reason"),
        pytest.param(_set(started_at="2026-11-20 10:00"), id="timestamp not RFC 3339"),
        pytest.param(_set(versions={}), id="no versions"),
        pytest.param(_limit(status="fail", ok=False), id="pass over a failed limit"),
        pytest.param(_limit(ok=False), id="limit passed and not ok"),
        pytest.param(_limit(observed=None), id="limit passed on nothing observed"),
        pytest.param(_limit(n=0), id="limit passed on no samples"),
        pytest.param(_set(capabilities=["telepathy"]), id="capability unknown"),
    ],
)
def test_invalid_envelope_is_refused_and_not_written(tmp_path: Path, spoil: Callable[[dict[str, Any]], None]) -> None:
    document = copy.deepcopy(envelope(5.0, 200, ROWS).document())
    validate(document, "result")
    spoil(document)
    with pytest.raises(ArtifactError, match="result: "):
        write_json(tmp_path / "result.json", document, "result")
    assert list(tmp_path.iterdir()) == []


def test_nan_is_refused(tmp_path: Path) -> None:
    document = envelope(5.0, 200, ROWS).document() | {"facts": {"share": float("nan")}}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "result.json", document, "result")
    assert list(tmp_path.iterdir()) == []


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    write_result(tmp_path, envelope(5.0, 200))
    write_result(tmp_path, envelope(200.0, 200))
    assert json.loads((tmp_path / "result.json").read_text())["verdict"] == "fail"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json", "summary.md"]


def test_summary_shows_limits_checks_and_a_broken_cell_breaks_no_table(tmp_path: Path) -> None:
    write_result(tmp_path, envelope(5.0, 200, Check("a", "rows | columns", Status.DISABLED, "no\ndatabase")))
    text = (tmp_path / "summary.md").read_text()
    assert "| heartbeat p95 | 5 ms | < 150 ms | 200 | ok |" in text
    assert "| rows \\| columns | no database | disabled |" in text


def test_git_sha_is_none_without_a_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: str) -> str:
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(artifacts, "_git", fail)
    artifacts.git_sha.cache_clear()
    assert artifacts.git_sha() is None
    artifacts.git_sha.cache_clear()


def test_dirty_tree_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "_git", lambda *arguments: "a" * 40 if "HEAD" in arguments else " M file")
    artifacts.git_sha.cache_clear()
    assert artifacts.git_sha() == "a" * 40 + "+dirty"
    artifacts.git_sha.cache_clear()


class TestTimelines:
    LINES = (
        Timeline("D01", "0193-x", (Moment("heartbeat", 1001.5, 200, "D01-0002"), Moment("registered", 1000.25, 200))),
        Timeline("D02", None, (Moment("registered_failed", 1000.1, detail="refused"),)),
    )

    def test_json_has_every_moment_in_order_of_time(self, tmp_path: Path) -> None:
        write_timelines(tmp_path, "sim20", 1000.0, self.LINES, ("registered", "heartbeat"))
        first, second = json.loads((tmp_path / "timelines.json").read_text())["devices"]
        assert [moment["event"] for moment in first["moments"]] == ["registered", "heartbeat"]
        assert first["milestones"] == {"registered": 250.0, "heartbeat": 1500.0}
        assert second["milestones"] == {"registered": None, "heartbeat": None}

    def test_csv_has_a_row_per_device(self, tmp_path: Path) -> None:
        write_timelines(tmp_path, "sim20", 1000.0, self.LINES, ("registered", "heartbeat"))
        rows = list(csv.DictReader((tmp_path / "timelines.csv").read_text().splitlines()))
        assert [row["device"] for row in rows] == ["D01", "D02"]
        assert (rows[0]["registered_ms"], rows[1]["registered_ms"]) == ("250.0", "")

    def test_invalid_moment_is_refused(self, tmp_path: Path) -> None:
        bad = Timeline("D01", None, (Moment("Not an event", 1000.0),))
        with pytest.raises(ArtifactError, match="timelines"):
            write_timelines(tmp_path, "sim20", 1000.0, [bad], ())
        assert list(tmp_path.iterdir()) == []


def test_every_artifact_schema_is_a_valid_schema_and_closed() -> None:
    schemas = sorted(artifacts.SCHEMAS.glob("*.schema.json"))
    assert [path.name.partition(".")[0] for path in schemas] == [
        "chaos",
        "latency",
        "matrix",
        "mutants",
        "platform",
        "pool",
        "result",
        "students",
        "timelines",
    ]
    for path in schemas:
        schema = json.loads(path.read_text())
        Draft202012Validator.check_schema(schema)
        assert schema["additionalProperties"] is False
        with pytest.raises(ArtifactError):
            validate({}, path.name.partition(".")[0])
