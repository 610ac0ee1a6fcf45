"""The limits of a chaos run go red for a lost write, and are inconclusive where nothing was acknowledged."""

from collections import Counter

import pytest

from acceptance.chaos import report
from acceptance.chaos.experiment import Suffered
from harness.oracles.findings import Findings
from harness.oracles.history import Tally
from harness.verdict.artifacts import ArtifactError, validate
from harness.verdict.thresholds import Status, judge


def row(acknowledged: int = 100, wrong: int = 0, recovery_s: float | None = 0.5, **found: list[str]) -> Suffered:
    asked = acknowledged + wrong
    tally = Tally(asked, acknowledged, 0, 0, Counter({"token 500": wrong} if wrong else {}))
    recoveries_s = [] if recovery_s is None else [recovery_s]
    times = len(recoveries_s)
    suffered = Suffered("kill -9", "chaos/001", times, tally, Findings(**found), 5.0, recoveries_s, list(recoveries_s))
    suffered.kinds = {"token": tally}
    return suffered


def status(*rows: Suffered) -> Status:
    return judge(report.limits(rows)).status


def test_nothing_amiss_is_a_pass() -> None:
    assert status(row(), row(landed=["token A"])) is Status.PASS


@pytest.mark.parametrize(
    "bad",
    [row(missing=["a"]), row(doubled=["a"]), row(unasked=["a"]), row(wrong=1), row(recovery_s=5.0)],
    ids=["missing", "doubled", "unasked", "a 500", "a slow recovery"],
)
def test_one_bad_fault_fails_the_run(bad: Suffered) -> None:
    assert status(row(), bad) is Status.FAIL


@pytest.mark.parametrize("idle", [row(acknowledged=0), row(recovery_s=None)], ids=["no write", "no repetition"])
def test_a_fault_that_proves_nothing_is_no_pass(idle: Suffered) -> None:
    assert status(row(), idle) is Status.INCONCLUSIVE


def test_the_document_fits_its_schema_and_the_table_has_a_line_for_each() -> None:
    rows = [row(), row(acknowledged=0, recovery_s=None), row(missing=["heartbeat d: acknowledged and not there"])]
    document = report.document(rows, sample=False)
    validate(document, "chaos")
    assert document["faults"][2]["examples"] == ["heartbeat d: acknowledged and not there"]
    assert len(report.lines(rows)) == 1 + len(rows) + 2, "a table of faults, a table of kinds"
    document["faults"][1]["recovery_worst_s"] = 1.0
    with pytest.raises(ArtifactError, match="recovery_worst_s"):
        validate(document, "chaos")


def test_each_kind_of_write_has_a_line_over_all_faults() -> None:
    rows = [row(), row()]
    for one in rows:
        one.kinds = {"heartbeat": Tally(0, 0, 0, 0), "release": Tally(10, 7, 2, 1)}
    validate(document := report.document(rows, sample=False), "chaos")
    counts = {"asked": 10, "acknowledged": 7, "refused": 2, "unanswered": 1}
    assert document["faults"][0]["kinds"] == {"release": counts}
    assert "| release | 20 | 14 | 4 | 2 |" in report.markdown(rows)
    assert [line.split() for line in report.lines(rows)][-1] == ["release", "20", "14", "4", "2"]
