"""The page as a whole: valid, self-contained, escaped, small, and there whatever else is missing."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness.verdict.artifacts import write_text
from harness.verdict.thresholds import Check, Limit, Status
from report.__main__ import main
from report.page import render, write
from report.sources import ReportError
from report.tests import builder
from report.tests.conftest import Page

HOSTILE = "</svg><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x1b[31mred\x1b[0m\x07\u202e"


@pytest.fixture(params=builder.SUITES)
def suite(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return builder.SUITES[request.param](tmp_path / request.param)


def test_the_page_is_balanced_and_its_references_lead_somewhere(suite: Path) -> None:
    page = Page(render(suite))
    assert not page.unbalanced
    ids = page.having("id")
    assert len(ids) == len(set(ids)), "an id twice"
    targets = [target[1:] for target in page.having("href") if target.startswith("#")]
    targets += [
        word for name in ("aria-labelledby", "aria-describedby") for word in " ".join(page.having(name)).split()
    ]
    assert set(targets) <= set(ids)
    assert targets


def test_the_page_loads_nothing_and_runs_nothing(suite: Path) -> None:
    page = Page(render(suite))
    assert not page.count("script")
    assert not [name for _, given in page.elements for name in given if name.startswith("on")]
    assert not page.having("src")
    links = [target for target in page.having("href") if not target.startswith("#")]
    assert links.pop(0) == "data:,"  # the icon: none, so that no browser asks for one
    assert links
    assert all((suite / target).exists() for target in links)
    assert "url(" not in page.html
    assert "@import" not in page.html
    assert not re.search(r"https?://", page.html)


def test_headings_come_in_order_and_tables_have_scopes(suite: Path) -> None:
    page = Page(render(suite))
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(given.get("scope") in ("row", "col") for name, given in page.elements if name == "th")
    assert all(given.get("role") == "img" for name, given in page.elements if "plot" in given.get("class", "").split())


@pytest.mark.parametrize(
    "name,sections",
    [
        ("sim20", "limits checks facts latency devices matrix environment"),
        ("acceptance", "checks facts failures matrix environment"),
        ("empty", "limits facts environment"),
        ("capacity", "checks facts latency stages environment"),
        ("chaos", "limits facts chaos environment"),
        ("mutants", "checks facts mutants environment"),
        ("soak", "limits facts latency resources environment"),
    ],
)
def test_a_section_is_there_when_its_artifact_is(name: str, sections: str, tmp_path: Path) -> None:
    page = Page(render(builder.SUITES[name](tmp_path / name)))
    assert page.sections() == sections.split()
    navigation = [target[1:] for target in page.having("href") if target.startswith("#")]
    assert navigation[: len(page.sections())] == page.sections()


def test_hostile_text_comes_out_as_text(tmp_path: Path) -> None:
    folder = tmp_path / "sim20"
    checks = [Check("log-errors", f"title {HOSTILE}", Status.FAIL, f"detail {HOSTILE}")]
    builder.result(folder, [builder.judged(f"limit {HOSTILE}")], checks, facts={f"fact {HOSTILE}": HOSTILE}, files=[])
    builder.devices(folder, 2, alias=HOSTILE + "{}")
    write_text(folder / "failures.log", f"line {HOSTILE}")
    builder.junit(folder, "<![CDATA[" + HOSTILE.replace("\x1b", "#x1B").replace("\x07", "") + "]]>")
    page = Page(render(folder))
    assert not page.unbalanced
    assert page.count("script") == page.count("img") == 0
    assert page.text.count("<script>alert(1)</script>") >= 9
    assert not set("\x1b\x07\u202e") & set(page.html)
    assert "[31m" not in page.html
    assert "red\N{REPLACEMENT CHARACTER}" in page.text


def test_a_failing_run_says_so_first_and_shows_the_output(tmp_path: Path) -> None:
    page = Page(render(builder.broken(tmp_path / "acceptance")))
    assert page.text.index("✗ fail") < page.text.index("The product broke") < page.text.index("200 instead of 401")
    assert "assert 200 == 401\nlast words" in page.text
    assert "sec.token.rejected" in page.text
    assert "40 checks that hold" in page.text


def test_a_chaos_run_shows_each_kind_of_write_over_all_faults(tmp_path: Path) -> None:
    page = Page(render(builder.shaken(tmp_path / "chaos")))
    figures = "".join(f'<td class="figure">{figure}</td>' for figure in ("1,234", "1,200", "30", "4"))
    assert f'<th scope="row">allocation</th>{figures}' in page.html


def test_a_missed_target_is_told_from_a_limit_that_holds_and_from_a_failure(tmp_path: Path) -> None:
    target = Limit("all sent", "s", "<", 2, breach=Status.TARGET_MISSED)
    folder = builder.result(tmp_path / "bench", [builder.judged(), target.judge_value(4.0, 3)])
    page = Page(render(folder))
    assert "✓ pass" in page.text
    assert "Everything that must hold does. A target is not reached yet; that fails nothing." in page.text
    assert "1 of 2 limits hold, 1 target missed." in page.text
    assert page.text.index("all sent: 4 s, wanted < 2 s") < page.text.index("↗ target missed")


def test_of_long_outputs_the_end_is_shown_and_of_many_failures_the_first(tmp_path: Path) -> None:
    folder = builder.broken(tmp_path / "acceptance")
    builder.junit(folder, "\n".join(f"line {n}." for n in range(1000)), times=60)
    page = Page(render(folder))
    assert page.text.count("(801 lines before these were left out)\nline 801.") == 50
    assert "line 800." not in page.text
    assert "10 more are in the junit.xml files" in page.text


def test_an_inconclusive_run_without_samples_claims_nothing(tmp_path: Path) -> None:
    page = Page(render(builder.empty(tmp_path / "empty")))
    assert "? inconclusive" in page.text
    assert "interrupted after 3 s" in page.text
    assert "never counts as a pass" in page.text
    assert "0 samples, 200 are needed" in page.text
    assert not page.count("rect", "fill")


@pytest.mark.parametrize(
    "name,spoil",
    [
        ("latency.json", "{"),
        ("latency.json", '{"suite": "sim20"}'),
        ("timelines.json", '{"suite": "sim20", "started_at": "x", "devices": NaN}'),
        ("junit.xml", "<testsuite>"),
        ("resources.csv", "when,what\n1,2\n"),
        ("resources.csv", "t_s,rss_mib\nsoon,2\n"),
    ],
)
def test_an_unusable_file_costs_its_section_and_is_named(name: str, spoil: str, tmp_path: Path) -> None:
    folder = builder.whole(tmp_path / "sim20")
    write_text(folder / name, spoil)
    page = Page(render(folder))
    assert f"{name} is there and cannot be used" in page.text
    assert page.sections()[0] == "limits"


def test_a_number_that_no_chart_can_show_costs_its_section(tmp_path: Path) -> None:
    folder = builder.whole(tmp_path / "sim20")
    text = (folder / "latency.json").read_text(encoding="utf-8")
    write_text(folder / "latency.json", text.replace('"timeout_ms": 10000', '"timeout_ms": 1e999'))
    assert "latency" not in Page(render(folder)).sections()


def test_a_folder_with_result_json_alone_is_enough_and_says_what_is_not_there(tmp_path: Path) -> None:
    page = Page(render(builder.empty(tmp_path)))
    assert "Not in this folder, so not on this page: latency.json" in page.text


@pytest.mark.parametrize("spoil", [None, "{", "{}", '{"wall_s": 1e999}', "[]"])
def test_without_a_valid_result_there_is_no_report(spoil: str | None, tmp_path: Path, capsys: Any) -> None:
    if spoil is not None:
        write_text(tmp_path / "result.json", spoil)
    with pytest.raises(ReportError, match=r"result\.json"):
        write(tmp_path)
    assert main([str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "report.html").exists()


def test_the_command_writes_each_folder_and_prints_where(tmp_path: Path, capsys: Any) -> None:
    folders = [builder.whole(tmp_path / "sim20"), builder.empty(tmp_path / "empty")]
    assert main([str(folder) for folder in folders]) == 0
    assert capsys.readouterr().out.split() == [str(folder / "report.html") for folder in folders]
    assert "report.html" not in Page((folders[0] / "report.html").read_text(encoding="utf-8")).having("href")
    assert render(folders[0]) == (folders[0] / "report.html").read_text(encoding="utf-8"), "a second one differs"


@pytest.mark.slow
def test_an_hour_of_more_than_a_hundred_devices_stays_below_two_megabytes(tmp_path: Path) -> None:
    folder = builder.soaked(tmp_path / "run")
    builder.latency(folder, {f"kind{n}": (3, 4.0 + n) for n in range(6)}, 3600)
    builder.devices(folder, 120, 1200)
    html = render(folder)
    assert len(html.encode()) < 2_000_000
    assert Page(html).count("text", "lane-name") == 100
    assert "the first 100 of 120 devices" in html
