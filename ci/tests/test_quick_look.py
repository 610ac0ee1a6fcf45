"""A quick look may leave a percentile open for want of samples, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci.quick_look import holds_so_far

Spoil = Callable[[dict[str, Any]], object]


def looked(folder: Path, spoil: Spoil) -> bool:
    limit = {"status": "inconclusive", "op": "<", "value": 50, "observed": 40.5, "n": 100, "min_n": 20, "full_n": 200}
    result = {
        "verdict": "inconclusive",
        "reasons": ["dispatch write p95: the worst sample is beyond the limit"],
        "limits": [limit, limit | {"status": "pass"}],
        "checks": [{"status": "pass"}],
    }
    spoil(result)
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return holds_so_far(folder, since=0.0)


def test_a_percentile_that_holds_with_few_samples(tmp_path: Path) -> None:
    assert looked(tmp_path, lambda _: None)


def test_the_result_of_another_run_says_nothing(tmp_path: Path) -> None:
    assert not holds_so_far(tmp_path, since=0.0)
    assert looked(tmp_path, lambda _: None)
    assert not holds_so_far(tmp_path, since=(tmp_path / "result.json").stat().st_mtime + 1)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda result: result.update(verdict="fail"),
        lambda result: result["reasons"].append("the log could not be read"),
        lambda result: result["checks"].append({"status": "disabled"}),
        lambda result: result["limits"][0].update(observed=50.0),
        lambda result: result["limits"][0].update(observed=None),
        lambda result: result["limits"][0].update(status="disabled"),
        lambda result: result["limits"][0].update(n=19),
        lambda result: result["limits"][0].update(n=200),
        lambda result: result["limits"][0].update(min_n=None),
        lambda result: result.update(limits=[]),
    ],
    ids=["fail", "more doubts", "unseen", "beyond", "nothing", "disabled", "too few", "late", "no least", "no limit"],
)
def test_all_else_stays_a_doubt(spoil: Spoil, tmp_path: Path) -> None:
    assert not looked(tmp_path, spoil)
