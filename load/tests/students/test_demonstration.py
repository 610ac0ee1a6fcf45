"""The demonstration: what students are to do, what is asked of a run, how it is told."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.sandboxes.calls import ALLOCATE, EXTEND, RELEASE, VIEW, Call
from harness.verdict.thresholds import Check, Status
from load.students import lanes
from load.students.demonstration_criteria import CHECKS, CRITERIA, story, waits_s
from load.students.observer import Observations
from load.students.run import Ending, StudentRun
from load.students.visits import Visit, visits
from load.verdict.check import run_checks
from load.workloads.students import SANDBOXES


def test_of_fifty_students_some_are_impatient_some_vanish_and_some_return() -> None:
    planned = visits(SANDBOXES, random.Random(1))
    assert [visit.arrives_s for visit in planned] == sorted(visit.arrives_s for visit in planned)
    assert Counter(visit.lab for visit in planned) == dict.fromkeys(SANDBOXES.labs, 10)
    assert sum(visit.vanishes for visit in planned) == sum(visit.impatient for visit in planned) == 10
    assert sum(visit.returns and not visit.vanishes for visit in planned) >= 4
    assert planned == visits(SANDBOXES, random.Random(1))


def call(kind: str, track: str, at: float, status: int, sandbox: str = "", ends: int = 0) -> Call:
    return Call(kind, track, at, at + 0.1, status, sandbox, 10 if sandbox else 0, ends)


def finished() -> StudentRun:
    """Two students: one waits, works, gives back; the other vanishes."""
    run = StudentRun(SANDBOXES, "x", 1, frozenset({"process"}), 10.0)
    run.visits = {
        "a": Visit("s01", SANDBOXES.labs[1], 0.0, 5.0, impatient=False, vanishes=False, returns=False),
        "b": Visit("s02", SANDBOXES.labs[0], 1.0, 5.0, impatient=False, vanishes=True, returns=False),
    }
    for one in (
        call(ALLOCATE, "a", 10.0, 409),
        call(ALLOCATE, "a", 12.0, 201, "1", 20),
        call(ALLOCATE, "b", 12.0, 201, "2", 20),
        call(VIEW, "a", 13.0, 200, "1", 20),
        call(ALLOCATE, "b", 14.0, 200, "2", 20),
        call(EXTEND, "a", 15.0, 200, "1", 23),
        call(RELEASE, "a", 16.0, 200, "1"),
    ):
        run.record(one)
    run.endings = [Ending("a", "1", "deleted", 16.0, "released"), Ending("b", "2", "deleted", 22.0, "expired")]
    run.deletions = [{"status": status, "effect": status == 204} for status in (500, 204, 204)]
    run.listed = {"3"}
    run.pool = [(10.0, {"available": 3}), (14.0, {"available": 1, "allocated": 2})]
    return run


def status(run: StudentRun, check: str) -> Status:
    wanted = [one for one in CHECKS if one.id == check]
    [found] = run_checks(run, Observations(), wanted)
    return found.status


def others_came(run: StudentRun) -> None:
    """As many as the scenario wants; each has what the first has."""
    for number in range(2, SANDBOXES.devices):
        run.visits[f"t{number}"] = run.visits["a"]
        run.record(call(ALLOCATE, f"t{number}", 12.0, 201, f"x{number}", 20))


def test_a_good_end_passes() -> None:
    run = finished()
    assert [status(run, check) for check in ("ended", "deleted")] == [Status.PASS] * 2
    assert status(run, "served") is Status.INCONCLUSIVE  # two came, and not fifty
    others_came(run)
    assert status(run, "served") is Status.PASS


@pytest.mark.parametrize(
    "check,spoil",
    [
        ("served", lambda run: run.visits.update(c=run.visits.pop("t2"))),
        ("ended", lambda run: run.endings.__setitem__(0, Ending("a", "1", "allocated", None, None))),
        ("ended", lambda run: run.endings.__setitem__(0, Ending("a", "1", "deleted", 22.0, "expired"))),
        ("ended", lambda run: run.endings.__setitem__(1, Ending("b", "2", "deleted", 16.0, "released"))),
        ("ended", lambda run: run.endings.pop()),
        ("deleted", lambda run: run.endings.__setitem__(1, Ending("b", "2", "pending_deletion", 22.0, "expired"))),
        ("deleted", lambda run: run.listed.add("2")),
    ],
)
def test_each_check_fails_where_it_should(check: str, spoil: Callable[[StudentRun], object]) -> None:
    run = finished()
    if check == "served":
        others_came(run)
    spoil(run)
    assert status(run, check) is Status.FAIL


def test_where_sandboxes_outlast_the_run_their_end_is_undecided() -> None:
    run = finished()
    run.record(call(ALLOCATE, "c", 12.0, 201, "4", 10 + 14_400))
    assert [status(run, check) for check in ("ended", "deleted")] == [Status.INCONCLUSIVE] * 2


def test_a_run_that_allocated_nothing_is_inconclusive() -> None:
    run = StudentRun(SANDBOXES, "x", 1, frozenset(), 10.0)
    assert status(run, "served") is Status.INCONCLUSIVE
    assert story(run) == []
    assert [one.status for one in CRITERIA.verified(Observations())] == [Status.INCONCLUSIVE]


def test_it_is_told_in_words_and_as_lanes(tmp_path: Path) -> None:
    run = finished()
    assert [round(wait, 1) for wait in waits_s(run)] == [2.1, 0.1]
    came, ended = story(run)
    assert came.startswith("2 students of 5 labs asked 4 times for a sandbox. 2 were given one")
    assert "1 sandboxes that nobody gave back" in ended
    assert "failed 1 of 3 calls to delete, and 2 sandboxes are gone" in ended
    second, first = lanes.document(run)["students"]  # by lab
    spans = [(span["state"], span["from_ms"], span["to_ms"]) for span in first["spans"]]
    assert spans == [("waiting", 0.0, 2100.0), ("holding", 2100.0, 6100.0)]
    assert [moment["event"] for moment in first["moments"]] == ["refused", "looked", "extended", "released"]
    spans = [(span["state"], span["from_ms"], span["to_ms"]) for span in second["spans"]]
    assert spans == [("waiting", 2000.0, 2100.0), ("holding", 2100.0, 4100.0), ("left", 4100.0, 12000.0)]
    assert [moment["event"] for moment in second["moments"]] == ["repeated", "expired"]
    none: list[Check] = []
    assert CRITERIA.files(run, None, none, tmp_path) == ["calls.csv.gz", "students.json", "pool.json"]
    assert lanes.pool(run)["pool"]["allocated"] == [[0.0, 0], [4.0, 2]]
