"""A run over its budget fails in CI and is reported elsewhere; what it took stands in its artifacts and the summary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ci import budgets, summary


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(budgets.BUDGETS_S, "backend", 45)


@pytest.fixture
def impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(budgets.BUDGETS_S, "backend", -1)


def test_a_run_within_its_budget_leaves_what_it_took(tmp_path: Path) -> None:
    said: list[str] = []
    with budgets.within("backend", tmp_path, fail=True, say=said.append):
        pass
    assert said == ["backend: within budget: 0 s of 45 s"]
    assert json.loads((tmp_path / "backend" / "budget.json").read_text()) == {"wall_s": 0.0, "budget_s": 45}
    assert "| backend | 0 | 45 | ok |" in summary.times(tmp_path)


@pytest.mark.usefixtures("impossible")
def test_a_run_over_its_budget_fails_in_ci(tmp_path: Path) -> None:
    over = pytest.raises(budgets.OverBudgetError, match=r"^backend: OVER BUDGET: 0 s of -1 s$")
    with over, budgets.within("backend", tmp_path, fail=True, say=print):
        pass
    assert "| backend | 0 | -1 | **over** |" in summary.times(tmp_path)


@pytest.mark.parametrize("wall_s, over, far_over", [(45, False, False), (90, True, False), (91, True, True)])
def test_within_the_margin_it_is_said_alone(wall_s: float, over: bool, far_over: bool) -> None:
    took = budgets.Took("backend", wall_s)
    assert (took.over, took.far_over) == (over, far_over)


@pytest.mark.usefixtures("impossible")
def test_elsewhere_it_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    with budgets.within("backend", tmp_path, fail=False, say=said.append):
        pass
    assert said == ["backend: OVER BUDGET: 0 s of -1 s"]


def test_a_run_that_failed_has_no_time_nor_the_one_before_it(tmp_path: Path) -> None:
    with budgets.within("backend", tmp_path, fail=True, say=print):
        pass
    with pytest.raises(ZeroDivisionError), budgets.within("backend", tmp_path, fail=True, say=print):
        raise ZeroDivisionError
    assert not budgets.read(tmp_path)
    assert summary.times(tmp_path) == []


def test_a_suite_without_a_budget_is_not_held_to_one(tmp_path: Path) -> None:
    with budgets.within("acceptance-slow", tmp_path, fail=True, say=print):
        pass
    assert not list(tmp_path.iterdir())
