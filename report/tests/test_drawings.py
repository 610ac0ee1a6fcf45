"""The drawings say what the artifacts say: nothing dropped, nothing moved, no peak smoothed away."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from report import charts, grid, lanes, latency, resources
from report.limits import bar
from report.page import render
from report.sources import read
from report.tests import builder
from report.tests.conftest import Page
from report.words import clean, number, span


def test_axes_begin_at_zero_or_are_logarithmic_and_hold_every_value() -> None:
    rng = random.Random(1)
    for _ in range(500):
        values = [10 ** rng.uniform(-2, 6) for _ in range(rng.randint(1, 9))]
        straight, log = charts.from_zero(values, "ms"), charts.logarithmic(values, "ms")
        assert straight.low == straight.ticks[0] == 0
        assert straight.high >= max(values)
        assert log.low <= min(values) * 1.001
        assert log.high >= max(values)
        assert 2 <= len(straight.ticks) <= 6
        assert 1 <= len(log.ticks) <= 10
        order = sorted(values)
        for axis in (straight, log):
            assert [axis.at(value) for value in order] == sorted(axis.at(value) for value in values)
        assert (straight.at(-1), log.at(0)) == (0, 0)


def test_downsampling_keeps_every_maximum_and_every_error() -> None:
    rng = random.Random(2)
    series = [
        {"t_s": float(t), "n": 1, "errors": int(t == 1234), "p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 3.0, "max_ms": 4.0}
        for t in range(3600)
        if rng.random() < 0.9 or t in (777, 1234)
    ]
    next(point for point in series if point["t_s"] == 777)["p99_ms"] = 900.0
    points, together = latency.thin(series, 1.0)
    assert together == 15
    assert len(points) <= 241
    assert sum(point["n"] for point in points) == len(series)
    assert sum(point["errors"] for point in points) == 1
    assert max(point["p99_ms"] for point in points) == 900
    assert next(point["t_s"] for point in points if point["p99_ms"] == 900) == 765


def test_a_line_breaks_where_there_was_nothing() -> None:
    plot = charts.Plot("x", charts.seconds(0, 10), charts.from_zero([1], "ms"))
    plot.line([(0, 1), (1, 1), (8, 1)], "p50", gap=2.5)
    assert re.findall(r' d="([^"]*)"', plot.svg("t", "d")) == ["M0.0 0.0h0L100.0 0.0M800.0 0.0h0"]


def test_a_value_stands_at_its_height_and_the_least_one_is_seen() -> None:
    plot = charts.Plot("x", charts.seconds(0, 10), charts.from_zero([1000], "ms"), height=200, top=10)
    plot.level(500, "limit")
    plot.bar(0, 1, 1, "one")
    svg = plot.svg("t", "d")
    assert re.findall(r'class="limit" x1="0" x2="100%" y1="(\d+\.\d)" y2="(\d+\.\d)"', svg) == [("110.0", "110.0")]
    assert re.findall(r'class="bar".* y="(\d+)" width="10.00%" height="(\d)"', svg) == [("209", "1")]


def test_labels_move_apart_and_stay_in_order() -> None:
    assert charts.spread([50, 50, 51], 13, 0, 100) == [50, 63, 76]
    assert charts.spread([99, 98], 13, 0, 100) == [100, 87]


def test_the_limit_of_a_kind_is_a_line_in_its_chart(tmp_path: Path) -> None:
    page = Page(render(builder.whole(tmp_path / "sim20")))
    assert "limit p95 150 ms" in page.text
    assert "limit p99 300 ms" in page.text
    assert page.count("line", "limit") == 2


def test_every_request_of_the_distribution_is_in_a_bar(tmp_path: Path) -> None:
    builder.latency(tmp_path, {"heartbeat": (20, 4)})
    document = latency_document(tmp_path)
    (kind,) = latency.kinds(document, [], [])
    assert kind.distribution is not None
    bars = re.findall(r"ms: ([0-9,]+) requests?</title>", kind.distribution.svg)
    assert sum(int(n.replace(",", "")) for n in bars) == document["kinds"][0]["n"]


def test_bars_are_equally_wide_and_never_finer_than_the_bins() -> None:
    for bins in ([(float(n), 1) for n in range(1, 400)], [(1.0, 5), (10.0, 1), (100.0, 7)], [(3.0, 4)], [(0.0, 4)]):
        bars = latency._bars(bins)
        assert sum(n for _, _, n in bars) == sum(n for _, n in bins)
        widths = {round(high / low, 6) for low, high, _ in bars}
        assert len(widths) == 1
        assert all(low < high for low, high, _ in bars)
    decades = [(1.0, 5), (10.0, 1), (100.0, 7)]
    assert [(round(high, 6), n) for _, high, n in latency._bars(decades)] == decades


def latency_document(folder: Path) -> dict[str, Any]:
    builder.result(folder, [builder.judged()], files=[])
    return read(folder).latency


def test_samples_become_dots_at_their_intended_time() -> None:
    rows = [{"kind": "heartbeat", "status": "200", "intended_ms": "1000", "answered_ms": "1007.5"}]
    rows += [{"kind": "heartbeat", "status": "503", "intended_ms": "1", "answered_ms": "2"}]
    rows += [{"kind": "metrics", "status": "200", "intended_ms": "1", "answered_ms": "2"}]
    assert latency._dots("heartbeat", rows) == [(1.0, 7.5)]
    assert latency._dots("heartbeat", [{"kind": "heartbeat", "status": "200", "intended_ms": "x"}]) == []


def test_every_stretch_of_errors_has_a_sign() -> None:
    assert latency._apart([0.1, 0.11, 0.12, 0.17, 0.5, 0.9, 0.91]) == [0.1, 0.17, 0.5, 0.9]


def test_stages_name_the_knee(tmp_path: Path) -> None:
    page = Page(render(builder.rising(tmp_path / "capacity")))
    assert "1,500/s was the highest load that held" in page.text
    assert page.count("text", "failed-mark") >= 4
    assert page.text.count("✗ not held") >= 2


@pytest.mark.parametrize("count", [1, 20, 100])
def test_each_device_has_a_lane_and_each_heartbeat_a_tick(count: int, tmp_path: Path) -> None:
    builder.devices(tmp_path, count)
    builder.result(tmp_path, [builder.judged()], files=[])
    page = Page(render(tmp_path))
    assert page.count("text", "lane-name") == count
    ticks = [
        given["d"].count("M") for name, given in page.elements if given.get("class") == "beats" and "v" in given["d"]
    ]
    assert ticks == [10] * count
    failed = [given for name, given in page.elements if given.get("href") == "#mark-failed"]
    assert len(failed) == (2 if count >= 3 else 0), "one in the lane of the third device, one in the legend"


def test_a_common_ending_of_names_is_said_once() -> None:
    assert lanes.shorten(["D01-ab", "D02-ab"]) == (["D01", "D02"], "-ab")
    assert lanes.shorten(["D01-ab"]) == (["D01-ab"], "")
    assert lanes.shorten(["D01", "E01"]) == (["D01", "E01"], "")
    assert lanes.shorten(["-ab", "D-ab"]) == (["-ab", "D-ab"], "")


@pytest.mark.parametrize(
    "observed,value,filled,beyond,says",
    [
        (75, 150, 35.0, False, "50% of the limit"),
        (150, 150, 70.0, False, "100% of the limit"),
        (600, 150, 100.0, True, "400% of the limit"),
        (6000, 150, 100.0, True, "40 times the limit"),
        (0, 0, 0.0, False, "0 ms, wanted = 0 ms"),
        (1, 0, 100.0, True, "1 ms, wanted = 0 ms"),
        (None, 150, None, False, "nothing observed, wanted = 150 ms"),
    ],
)
def test_a_bar_is_as_long_as_what_was_observed(
    observed: float | None, value: float, filled: float | None, beyond: bool, says: str
) -> None:
    drawn = bar({"observed": observed, "value": value, "op": "==", "unit": "ms"})
    assert (drawn.filled, drawn.beyond, drawn.says) == (filled, beyond, says)


def test_a_limit_from_below_stands_in_the_middle_of_its_bar() -> None:
    drawn = bar({"observed": 0.9, "value": 0.5, "op": ">=", "unit": ""})
    assert (drawn.mark, drawn.filled, drawn.beyond) == (50.0, 90.0, False)


def test_the_grid_tells_proved_failed_disabled_and_missing_apart(tmp_path: Path) -> None:
    builder.matrix(tmp_path)
    builder.result(tmp_path, [builder.judged()], suite="acceptance", files=[])
    drawn = grid.grid(read(tmp_path).matrix)
    cells = drawn.rows
    assert {status: cell.state for status, cell in cells["registerDevice"].items()} == {
        "200": "passed",
        "401": "failed",
        "503": "open",
    }
    assert cells["getHealth"]["200"].state == "gap"
    page = Page(render(tmp_path))
    assert "2 proved, 1 failed, 1 not looked at, 3 without a case" in page.text
    assert [table.answers for table in drawn.tables] == [["200", "401", "503"], ["503", "not_found", "result"]]
    assert "readFile result: register/001 passed" in page.having("title")
    assert "registerDevice 401: register/002 failed" in page.having("title")


def test_faults_that_survived_come_first(tmp_path: Path) -> None:
    text = Page(render(builder.hunted(tmp_path))).text
    assert text.index("auth/no-signature") < text.index("✗ survived") < text.index("auth/any-signature")
    assert "- if not valid:" in text
    assert "+ if False:" in text


def test_a_write_that_a_fault_cost_is_named(tmp_path: Path) -> None:
    text = Page(render(builder.shaken(tmp_path))).text
    assert "✗ 1" in text
    assert "disk full: what is amiss" in text
    assert "heartbeat 7: acknowledged and not there" in text
    assert "kill -9 of the backend: what is amiss" not in text


def test_resources_have_a_chart_for_each_column_and_a_line_for_each_process() -> None:
    rows = [
        {"t_s": str(t), "pid": pid, "rss_bytes": str(2**20 * (100 + t)), "fds": "40"} for t in (0, 5) for pid in "12"
    ]
    memory, descriptors = resources.draw(rows)
    assert memory.svg.count('class="line p95"') == 2
    assert "rss, MiB" in memory.caption
    assert ">105 MiB<" in memory.svg
    assert "fds" in descriptors.caption
    peak = [{"t_s": str(t), "fds": "900" if t == 777 else "40"} for t in range(3600)]
    (figure,) = resources.draw(peak)
    assert "L215.9 12.0" in figure.svg, "777 of 3,599 s, 900 on an axis to 1,000 that is 120 pixels high"
    with pytest.raises(ValueError, match="t_s"):
        resources.draw([{"when": "1"}])


@pytest.mark.parametrize(
    "value,text",
    [(0, "0"), (0.004, "0.004"), (6.3062, "6.31"), (16.5, "16.5"), (99.96, "100"), (1234.5, "1,234"), (20.0, "20")],
)
def test_numbers_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert number(value) == text


def test_durations_and_terminal_codes() -> None:
    assert [span(s) for s in (31.338, 60, 125.4, 5400)] == ["31.3 s", "1 min", "2 min 5 s", "1 h 30 min"]
    assert clean("\x1b[1;31mE\x1b[0m\x1b]8;;http://x\x1b\\link #x1B[31mred\tx\ny") == "Elink red\tx\ny"
    assert clean("a\ud800\u202eb\x00") == "a\ufffd\ufffdb\ufffd"
