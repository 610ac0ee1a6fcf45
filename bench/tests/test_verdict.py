import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import psycopg
import pytest

from bench import __main__ as bench
from bench import capacity, scenarios, steady
from bench.rig import Plan, Rig, Void
from bench.rows import ROWS, Row
from bench.steady import Beat
from bench.wrk import WrkError
from harness.verdict.thresholds import Limit, Status

LIMIT = Limit("a ratio", "", ">=", 0.5)


def row(observed: float | None, needs: str = "") -> Row:
    return Row("row", (LIMIT,), lambda _: [LIMIT.judge_value(observed, 3)], needs)


def finish(tmp_path: Path, *rows: Row, quick: bool = False) -> tuple[int, dict[str, Any]]:
    plan = Plan(quick=quick, artifacts=tmp_path)
    with Rig(plan) as rig:
        judgements = bench.run(rig, rows)
    code = bench._write(plan, time.time(), judgements, rig.facts)
    return code, json.loads((tmp_path / "result.json").read_text())


@pytest.mark.parametrize("observed, code", [(0.6, 0), (0.5, 0), (0.49, 1), (None, 2)])
def test_a_target_that_holds_is_0_a_missed_one_1_an_unjudged_one_2(
    tmp_path: Path, observed: float | None, code: int
) -> None:
    assert finish(tmp_path, row(observed))[0] == code


def test_a_target_that_is_not_reached_yet_is_reported_and_fails_nothing(tmp_path: Path) -> None:
    target = replace(LIMIT, breach=Status.TARGET_MISSED)
    code, document = finish(tmp_path, Row("row", (target,), lambda _: [target.judge_value(0.4, 3)]))
    assert (code, document["verdict"]) == (0, "pass")
    assert document["reasons"] == ["a ratio: 0.4, wanted >= 0.5"]
    assert "| **target missed** |" in (tmp_path / "summary.md").read_text()
    assert bench.spared(row(0.0), target.judge_value(0.4, 3), 0.5).status is Status.INCONCLUSIVE


def test_a_miss_outweighs_a_doubt(tmp_path: Path) -> None:
    assert finish(tmp_path, row(None), row(0.1), row(0.9))[0] == 1


@pytest.mark.parametrize("error", [Void("no"), WrkError("no"), psycopg.OperationalError("no"), ConnectionError("no")])
def test_a_row_that_breaks_is_inconclusive_and_says_why(tmp_path: Path, error: Exception) -> None:
    def broken(_rig: Rig) -> NoReturn:
        raise error

    code, document = finish(tmp_path, Row("row", (LIMIT, LIMIT), broken), row(0.9))
    assert code == 2
    assert [limit["status"] for limit in document["limits"]] == ["inconclusive", "inconclusive", "pass"]
    assert document["limits"][0]["note"] == f"{type(error).__name__}: no"


def test_quick_leaves_out_what_takes_minutes_and_counts_it_neither_way(tmp_path: Path) -> None:
    code, document = finish(tmp_path, row(0.9), row(0.1, needs="takes minutes"), quick=True)
    assert (code, document["limits"][1]["status"], document["limits"][1]["note"]) == (0, "disabled", "takes minutes")
    assert finish(tmp_path, row(0.1, needs="takes minutes"))[0] == 1
    assert finish(tmp_path, row(0.9, needs="takes minutes"), quick=True)[0] == 2, "nothing was judged"


def test_a_row_that_forgets_a_limit_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        finish(tmp_path, Row("row", (LIMIT, LIMIT), lambda _: [LIMIT.judge_value(1.0, 1)]))


def worker(share: float = 1.0, *trouble: str) -> Any:
    return SimpleNamespace(trouble=list(trouble), shares=[share] * 3)


def test_a_void_round_fails_its_row_whatever_the_ratio() -> None:
    rates, reference = [9.0, 9.0], [10.0, 10.0]
    assert capacity._judged(LIMIT, rates, reference, [worker()]).status is Status.PASS
    judged = capacity._judged(LIMIT, rates, reference, [worker(), worker(1.0, "3 refused")])
    assert (judged.status, judged.note) == (Status.FAIL, "void: 3 refused")


def test_duplicates_are_no_measure_of_capacity() -> None:
    judged = capacity._judged(LIMIT, [9.0], [10.0], [worker(), worker(0.4)])
    assert (judged.status, judged.note) == (Status.INCONCLUSIVE, "only 40% of the heartbeats became rows")


@pytest.mark.parametrize(
    "observed, strangers, time, ratio",
    [
        (0.4, 0.5, Status.INCONCLUSIVE, Status.INCONCLUSIVE),
        (0.4, 0.1, Status.FAIL, Status.FAIL),
        (0.4, None, Status.FAIL, Status.FAIL),
        (0.6, 0.9, Status.PASS, Status.INCONCLUSIVE),
        (0.6, 0.1, Status.PASS, Status.PASS),
    ],
)
def test_a_busy_machine_excuses_a_miss_and_makes_a_ratio_doubtful(
    observed: float, strangers: float | None, time: Status, ratio: Status
) -> None:
    judged = LIMIT.judge_value(observed, 3)
    assert bench.spared(row(0.0), judged, strangers).status is time
    assert bench.spared(replace(row(0.0), relative=True), judged, strangers).status is ratio


def test_missing_wrk_ends_the_run_at_its_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bench.main(["--quick", "--artifacts", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "apt-get install wrk" in said


def test_every_row_and_limit_has_a_name_of_its_own_and_says_how_it_is_measured() -> None:
    names = [row.name for row in ROWS] + [limit.name for row in ROWS for limit in row.limits]
    assert len(set(names)) == len(names)
    assert all(limit.source or limit is scenarios.FIRST_SIMULATION for row in ROWS for limit in row.limits)


def document(**limit: Any) -> dict[str, Any]:
    theirs = {"name": "heartbeat p99", "status": "pass", "observed": 5.0, "n": 5000, "note": ""} | limit
    return {"limits": [theirs]}


@pytest.mark.parametrize(
    "changed, status",
    [
        ({}, Status.PASS),
        ({"observed": 20.0}, Status.FAIL),  # within their limit, beyond ours
        ({"observed": 20.0, "status": "fail"}, Status.FAIL),
        ({"status": "inconclusive"}, Status.INCONCLUSIVE),
        ({"status": "disabled", "observed": None}, Status.INCONCLUSIVE),
        ({"name": "another"}, Status.INCONCLUSIVE),
    ],
)
def test_another_runs_figure_is_judged_by_our_limit(changed: dict[str, Any], status: Status) -> None:
    assert scenarios.taken_over(scenarios.FLEET_P99, document(**changed), "heartbeat p99").status is status


def test_a_late_generator_voids_what_it_measured() -> None:
    judged = [scenarios.SIM_P95.judge([1.0] * 300)]
    late = {"limits": [{"name": "generator lag p99", "status": "inconclusive"}]}
    assert scenarios._voided_by(judged, late, ("generator lag p99",))[0].status is Status.INCONCLUSIVE
    fine = {"limits": [{"name": "generator lag p99", "status": "pass"}, {"name": "other", "status": "fail"}]}
    assert scenarios._voided_by(judged, fine, ("generator lag p99",)) == judged


def test_a_suites_time_is_that_of_its_last_run_or_disabled(tmp_path: Path) -> None:
    path = tmp_path / "acceptance" / "result.json"
    assert scenarios._wall(scenarios.ACCEPTANCE, path).status is Status.DISABLED
    path.parent.mkdir()
    last = {"wall_s": 61.0, "git_sha": "a" * 40, "started_at": "2026-11-21T12:00:00.000Z", "verdict": "pass"}
    path.write_text(json.dumps(last))
    judged = scenarios._wall(scenarios.ACCEPTANCE, path)
    assert (judged.status, judged.note) == (Status.FAIL, f"commit {'a' * 12}, 2026-11-21T12:00:00.000Z, verdict pass")


def beats(count: int = 300, lag_s: float = 0.0, latency_s: float = 0.002, status: int = 200) -> list[Beat]:
    return [Beat(number, number + lag_s, number + lag_s + latency_s, status) for number in range(count)]


def test_a_refused_beat_is_no_quick_one_and_voids_the_round() -> None:
    assert steady.latencies_ms(beats(1, status=503)) == [10_000.0]
    assert steady.trouble(beats()) == ""
    assert "1 of 301" in steady.trouble([*beats(), *beats(1, status=0)])
    assert "0 of 0" in steady.trouble([])
    assert "late" in steady.trouble(beats(lag_s=0.006))
    assert steady.latencies_ms(beats(1, lag_s=0.006)) == [pytest.approx(8.0)], "the delay is in the latency"
