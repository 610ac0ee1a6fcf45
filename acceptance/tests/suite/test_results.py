"""A run without passes is no pass, a skip is a failure, and a case is as good as its worst parameter set."""

import time
from typing import Any, Literal

import pytest

from acceptance.suite import case as cases
from acceptance.suite.results import Results
from harness.oracles import log_schemas
from harness.verdict.thresholds import Status

When = Literal["setup", "call", "teardown"]
Outcome = Literal["passed", "failed", "skipped"]


def report(
    case: str = "noun/001", when: When = "call", outcome: Outcome = "passed", longrepr: Any = None
) -> pytest.TestReport:
    return pytest.TestReport(
        f"acceptance/test_noun.py::test_it[{case}]", ("f", 1, "t"), {}, outcome, longrepr, when,
        user_properties=[
            ("case", case),
            ("requirement", "It works"),
            ("proves", "getHealth 200, * 503"),
            ("seen", "getHealth=200 getReadiness=200"),
        ],
    )  # fmt: skip


def skipped(reason: str) -> pytest.TestReport:
    return report(when="setup", outcome="skipped", longrepr=("f", 1, f"Skipped: {reason}"))


def results(*reports: pytest.TestReport) -> Results:
    found = Results(time.time())
    for one in reports:
        found.pytest_runtest_logreport(one)
    return found


def test_passes_are_a_pass_and_count_in_the_matrix() -> None:
    found = results(report(when="setup"), report(), report(when="teardown"))
    assert found.verdict().status is Status.PASS
    assert found.operations()["getHealth"]["200"] == ["noun/001"]


def test_only_what_a_case_declares_and_has_seen_is_proved() -> None:
    found = results(report())
    assert found.operations()["getReadiness"]["200"] == [], "seen on the way, not declared"
    assert (found.cases["noun/001"].proved, found.cases["noun/001"].unseen) == ({("getHealth", "200")}, ["* 503"])


def test_nothing_is_inconclusive() -> None:
    assert results().verdict().status is not Status.PASS


@pytest.mark.parametrize(
    "bad",
    [
        report(outcome="failed", longrepr="boom"),
        report(when="setup", outcome="failed", longrepr="boom"),
        report(when="teardown", outcome="failed", longrepr="boom"),
        skipped("flaky on Tuesdays"),
    ],
    ids=["failed", "no set-up", "no tear-down", "a skip"],
)
def test_one_bad_report_fails_the_case_and_the_run(bad: pytest.TestReport) -> None:
    found = results(report(), bad, report())
    assert found.cases["noun/001"].outcome != "passed"
    assert found.verdict().status is Status.FAIL
    assert found.operations()["getHealth"]["200"] == [], "a failed case proves nothing"


def test_each_case_is_a_log_line_of_the_service_s_format() -> None:
    [line] = results(report(), report(when="teardown")).lines()
    assert log_schemas.faults(line) == []
    assert (line["case"], line["outcome"]) == ("noun/001", "passed")


def test_a_complaint_of_the_sweep_fails_the_run() -> None:
    found = results(report())
    found.complaints.append("a token stands in clear")
    assert found.verdict().status is Status.FAIL


def test_disabled_is_reported_and_is_no_pass() -> None:
    found = results(skipped(cases.DISABLED + "logs"))
    assert found.cases["noun/001"].outcome == "disabled"
    assert found.verdict().status is Status.INCONCLUSIVE
    assert results(skipped(cases.DISABLED + "logs"), report("noun/002")).verdict().status is Status.PASS
