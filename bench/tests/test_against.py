"""Before and after, with rows that measure nothing: the order, what voids a pair, what is not comparable."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import psycopg
import pytest

from bench import __main__ as bench
from bench import against
from bench.against import Order
from bench.pairs import Figure, Turns
from bench.rig import Disturbed, Plan, Refused, Rig, Unsupported, Void, refused
from bench.rows import ROWS, Comparison, Row, observed
from harness.stack.backend import BackendError
from harness.verdict.thresholds import Limit, Status

FIGURE = Figure("heartbeats", "/s", higher_is_better=True)
LIMIT = Limit("a time", "ms", "<", 5)
NONE = Limit("errors", "", "==", 0)


class Side(Rig):
    """A rig without a stack: its samples are told, or raised."""

    strangers = 0.1
    broken = ""

    def __init__(self, _plan: Plan, command: str | None = None, name: str = "") -> None:
        super().__init__(Plan(), command, name)

    @property
    def stack(self) -> Any:
        if self.name == self.broken:
            raise BackendError("`nexmdm grant app` ended with exit code 2\n╭──╮\n│ No such command 'grant'. │\n╰──╯")
        return SimpleNamespace(target=SimpleNamespace(base_url="http://127.0.0.1:1"), backend=None)

    @property
    def pid(self) -> int | None:
        return None


@pytest.fixture(autouse=True)
def without_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(against, "Rig", Side)
    monkeypatch.setattr(Side, "strangers", 0.1)
    monkeypatch.setattr(against, "Strangers", lambda _pid: SimpleNamespace(share=lambda: Side.strangers))


def row(sample: Callable[[Any], list[float]], name: str = "row") -> Row:
    def turns(rig: Rig) -> Turns[list[float]]:
        yield
        return sample(rig)

    return Row(name, (LIMIT,), lambda _: [], compared=Comparison((FIGURE,), turns))


def finish(tmp_path: Path, *rows: Row, pairs: int = 5, within: float | None = None) -> tuple[int, dict[str, Any]]:
    found = against.run(Plan(), rows, Order("a" * 40, Path("nexmdm"), pairs, within))
    code = bench._write(Plan(artifacts=tmp_path), 0.0, found.judgements, found.facts, found.checks)
    return code, json.loads((tmp_path / "result.json").read_text())


def told(ratio: float) -> Callable[[Side], list[float]]:
    return lambda rig: [100.0 * (ratio if rig.name == "candidate" else 1)]


def test_both_sides_are_measured_in_turns_and_the_median_is_told(tmp_path: Path) -> None:
    order: list[str] = []
    values = {"b": iter([100, 100, 100, 100, 100]), "c": iter([110, 120, 90, 105, 300])}

    def turns(rig: Rig) -> Turns[list[float]]:
        side = rig.name[0]
        for turn in (side, side, side.upper()):
            order.append(turn)
            yield
        return [next(values[side])]

    code, document = finish(tmp_path, Row("row", (LIMIT,), lambda _: [], compared=Comparison((FIGURE,), turns)))
    assert "".join(order) == "bccbBC" + "cbbcCB" + "bccbBC" + "cbbcCB" + "bccbBC"
    (check,) = document["checks"]
    assert (code, check["status"], check["id"]) == (0, "pass", "row/heartbeats")
    assert (
        "x 1.100 (10.0% better), median of 5 pairs; 90 % between 0.900 and 3.000; from 0.900 to 3.000"
        in check["detail"]
    )
    assert document["facts"]["row: heartbeats, ratios"] == "1.100 1.200 0.900 1.050 3.000"
    assert document["facts"]["row: heartbeats, candidate"] == "110 120 90 105 300"
    assert document["facts"]["baseline"] == "a" * 40
    assert document["limits"] == [], "no verdict unless a limit is asked for"


@pytest.mark.parametrize("ratio, code", [(1.0, 0), (0.985, 0), (0.5, 1), (2.0, 0)])
def test_within_fails_what_is_worse_and_only_that(tmp_path: Path, ratio: float, code: int) -> None:
    assert finish(tmp_path, row(told(ratio)), within=2)[0] == code


def test_without_a_limit_worse_is_told_and_no_failure(tmp_path: Path) -> None:
    code, document = finish(tmp_path, row(told(0.5)))
    assert (code, "50.0% worse" in document["checks"][0]["detail"]) == (0, True)


def test_pairs_beside_other_programs_are_void(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Side, "strangers", 0.25)
    code, document = finish(tmp_path, row(told(0.5)), within=2)
    assert code == 2
    assert [one["status"] for one in (*document["checks"], *document["limits"])] == ["inconclusive", "inconclusive"]
    assert "other programs took 25% of the CPUs" in document["checks"][0]["detail"]
    assert document["facts"]["row: heartbeats, ratios"] == " ".join(["(0.500 void)"] * 5)


def test_a_late_generator_voids_its_pair_and_blames_no_side(tmp_path: Path) -> None:
    calls: list[str] = []

    def sample(rig: Side) -> list[float]:
        calls.append(rig.name)
        if len(calls) == 3:
            raise Disturbed("the generator was late")
        return [100.0]

    code, document = finish(tmp_path, row(sample), pairs=6)
    assert (code, "median of 5 pairs" in document["checks"][0]["detail"]) == (0, True)
    assert document["facts"]["row: heartbeats, ratios"].split(" ", 1)[1].startswith("(nan void)")


def test_who_breaks_ends_the_pair_and_the_other_side_s_measurement(tmp_path: Path) -> None:
    ended: list[str] = []

    def turns(rig: Rig) -> Turns[list[float]]:
        try:
            yield
            if rig.name == "baseline":
                raise Refused("503")
            yield
        finally:
            ended.append(rig.name)
        return [1.0]

    finish(tmp_path, Row("row", (LIMIT,), lambda _: [], compared=Comparison((FIGURE,), turns)))
    assert sorted(ended) == ["baseline", "candidate"]


def broken(side: str, error: Exception) -> Callable[[Side], list[float]]:
    def sample(rig: Side) -> list[float]:
        if rig.name == side:
            raise error
        return [100.0]

    return sample


@pytest.mark.parametrize(
    "error", [Refused("/admin/command: 404"), psycopg.errors.UndefinedColumn("no fcm_token"), Void("no log lines")]
)
def test_what_the_baseline_cannot_serve_is_not_comparable_and_the_other_rows_are_measured(
    tmp_path: Path, error: Exception
) -> None:
    code, document = finish(tmp_path, row(broken("baseline", error), "first"), row(told(1.0), "second"))
    first, second = document["checks"]
    assert (code, first["status"], second["status"]) == (0, "disabled", "pass")
    assert first["detail"] == f"not comparable: baseline: {type(error).__name__}: {error}"
    assert not [name for name in document["facts"] if name.startswith("first")], "no figure, so no zero"


def test_where_nothing_is_comparable_nothing_was_measured(tmp_path: Path) -> None:
    assert finish(tmp_path, row(broken("baseline", Refused("401"))))[0] == 2


def test_who_breaks_beside_other_programs_is_not_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Side, "strangers", 0.6)
    for side in ("baseline", "candidate"):
        code, document = finish(tmp_path, row(broken(side, Refused("79 answers of 503"))))
        assert (code, document["checks"][0]["status"]) == (2, "inconclusive")
        assert f"took 60% of the CPUs; {side}: Refused: 79 answers of 503" in document["checks"][0]["detail"]
    for error in (psycopg.errors.UndefinedTable("no signing_keys"), refused("/admin/command", 404, b"")):
        _, document = finish(tmp_path, row(broken("baseline", error)))
        assert document["checks"][0]["status"] == "disabled", "no load takes a table or a route away"
    assert not isinstance(refused("/admin/command", 503, b""), Unsupported)


@pytest.mark.parametrize("error, code", [(Refused("3 answers of 500"), 1), (Void("no"), 2)])
def test_a_candidate_that_answers_wrongly_fails_and_one_that_was_not_measured_is_in_doubt(
    tmp_path: Path, error: Exception, code: int
) -> None:
    assert finish(tmp_path, row(broken("candidate", error)), row(told(1.0)))[0] == code


def test_a_baseline_that_does_not_start_says_why_once_for_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Side, "broken", "baseline")
    code, document = finish(tmp_path, row(told(1.0)), row(told(1.0)))
    why = "BackendError: `nexmdm grant app` ended with exit code 2 ... No such command 'grant'."
    assert code == 2
    assert {one["detail"] for one in document["checks"]} == {
        f"not comparable: the baseline's stack does not start: {why}"
    }


def test_a_row_without_figures_of_its_own_is_compared_by_what_its_limits_observe() -> None:
    assert observed([LIMIT.judge_value(9.0, 3), NONE.judge_value(0, 3)]) == [9.0], "a missed limit is a figure too"
    with pytest.raises(Refused, match="errors: 2"):
        observed([LIMIT.judge_value(1.0, 3), NONE.judge_value(2, 3)])
    with pytest.raises(Void, match="a time: no log"):
        observed([LIMIT.disabled("no log")])
    with pytest.raises(Disturbed, match="lag"):
        observed([LIMIT.judge_value(1.0, 3).voided("lag")])


def test_every_row_has_figures_with_names_of_their_own_or_says_why_not() -> None:
    for one in ROWS:
        names = [figure.name for figure in one.comparison.figures]
        assert one.alone or (names and len(set(names)) == len(names)), one.name


def nothing(*_: Any) -> NoReturn:
    raise AssertionError("must not start anything")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--against", "HEAD"],
        ["--baseline", "nexmdm"],
        ["--within", "2"],
        ["--against", "HEAD", "--baseline", "nexmdm", "--pairs", "4"],
        ["--against", "HEAD", "--baseline", "nexmdm", "--pairs", "many"],
        ["--against", "HEAD", "--baseline", "nexmdm", "--within", "0"],
        ["--against", "HEAD", "--baseline", "nexmdm", "--within", "nan"],
    ],
)
def test_bad_input_is_exit_code_2(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(against, "run", nothing)
    with pytest.raises(SystemExit) as ended:
        bench.main(arguments)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


def test_the_command_line_compares_the_default_rows_and_writes_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def run(plan: Plan, rows: Any, order: Order) -> against.Outcome:
        seen.extend((plan.repeats, [one.name for one in rows], order))
        return against.Outcome()

    monkeypatch.setattr(against, "run", run)
    monkeypatch.setattr("bench.wrk.command", lambda: "wrk")
    arguments = ["--against", "b" * 40, "--baseline", "nexmdm", "--within", "2.5", "--artifacts", str(tmp_path)]
    assert bench.main(arguments) == 2, "nothing was measured"
    assert seen == [1, ["single", "fanout", "capacity"], Order("b" * 40, Path("nexmdm"), 5, 2.5)]
    assert Status(json.loads((tmp_path / "result.json").read_text())["verdict"]) is Status.INCONCLUSIVE
