"""The demonstration of the platform: what is asked of a run, how it is told, and how the end of a zone is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.http.client import Answer, Client
from harness.verdict.thresholds import Check, Status
from load.measurements.observations import LogErrors, Part
from load.platform import lanes
from load.platform.caller import Caller, Refused, ZoneOver
from load.platform.criteria import CHECKS, CRITERIA, story
from load.platform.observer import AgentRow, Charged, EventRow, Observations, TaskRow, ZoneRows
from load.platform.run import Claim, Deletion, FileCall, Mounting, PlatformRun, Sent, Task, Worker, ZoneStory
from load.verdict.check import run_checks
from load.workloads.platform import PLATFORM, PlatformShow

OURS, THEIRS = Mounting.ours, Mounting.theirs
EVENTS = (
    ("task.submitted", "id-1"),
    ("task.submitted", "id-2"),
    ("task.claimed", "id-1"),
    ("task.retried", "id-1"),
    ("task.claimed", "id-2"),
    ("task.completed", "id-2"),
    ("write", "/results/a-2.txt"),
    ("task.claimed", "id-1"),
    ("task.completed", "id-1"),
    ("write", "/results/a-1.txt"),
)


def claim(agent: str, attempt: int, at: float, end: str = "", status: str = "") -> Claim:
    return Claim(agent, attempt, "token", at, at + 0.1, end, status, (at + 1.0, at + 1.1) if end else None)


def finished() -> PlatformRun:
    """One agent falls silent with a task, which the other one ends; a second zone is deleted."""
    run = PlatformRun(PLATFORM, "x", 1, frozenset({"database", "logs"}), 10.0)
    zone = ZoneStory("alpha", "show-alpha", "key", planned=True)
    zone.changes = [
        FileCall("write", "/results/a-2.txt", None, 14.2, 14.3),
        FileCall("write", "/results/a-1.txt", None, 20.2, 20.3),
    ]
    zone.files = {"/results/a-1.txt": "e1", "/results/a-2.txt": "e2"}
    zone.events = [
        {"sequence_number": number, "type": kind, "path": path, "zone_id": "show-alpha"}
        for number, (kind, path) in enumerate(EVENTS, 1)
    ]
    run.zones = {"alpha": zone, "omega": ZoneStory("omega", "show-omega", "key", ends_at=18.0)}
    run.tasks = {
        "a-1": Task("a-1", "alpha", 0, 0, final=False, order=1, submitted_at=11.0, task_id="id-1"),
        "a-2": Task("a-2", "alpha", 4, 0, final=False, order=0, submitted_at=10.5, task_id="id-2"),
    }
    run.tasks["a-1"].claims = [claim("one", 1, 12.0), claim("two", 2, 19.0, "complete", "completed")]
    run.tasks["a-2"].claims = [claim("two", 1, 13.0, "complete", "completed")]
    run.workers = {
        "one": Worker("one", "alpha", 10.0, 1, 11.0, silent_at=12.2, heartbeats=1, moments=[("heartbeat", 11.5)]),
        "two": Worker("two", "alpha", 10.0, 1, 11.0, heartbeats=3, last_at=21.0),
    }
    run.upload = Sent("/film", 90, "digest", "digest", cut_at=45, resumed_at=40)
    run.mounting = Mounting(
        {"a": "1"}, {"a": "1"}, 0.2, "f", "f", "ours", "theirs", ("ours", "theirs"), ("theirs", "ours")
    )
    run.looks = 7
    run.deletion = Deletion(1, {"tasks": 3}, {}, 2, 0, 0.5, 401)
    return run


def rows() -> ZoneRows:
    return ZoneRows(
        [
            TaskRow("id-1", "a-1", "completed", 0, ["expired", "completed"]),
            TaskRow("id-2", "a-2", "completed", 4, ["completed"]),
        ],
        [EventRow(number, kind, path, None) for number, (kind, path) in enumerate(EVENTS, 1)],
        {"/results/a-1.txt": "e1", "/results/a-2.txt": "e2"},
        [AgentRow("one", "IDLE", 1, 1), AgentRow("two", "CONNECTED", 1, 3)],
        Charged(events=len(EVENTS), files=2, agents=2, tasks_queued=0),
    )


def judged(run: PlatformRun, found: ZoneRows) -> dict[str, Check]:
    seen = Observations(Part({"alpha": found}), Part(LogErrors(10, [])))
    return {check.id: check for check in run_checks(run, seen, CHECKS)}


def test_a_good_end_passes() -> None:
    assert {
        check.id: check.detail for check in judged(finished(), rows()).values() if check.status is not Status.PASS
    } == {}


def without(found: ZoneRows, number: int) -> ZoneRows:
    return found._replace(events=[event for event in found.events if event.number != number])


def with_task(found: ZoneRows, **fields: Any) -> ZoneRows:
    first, second = found.tasks
    return found._replace(tasks=[first._replace(**fields), second])


@pytest.mark.parametrize(
    "check,spoilt",
    [
        ("ends", lambda found: with_task(found, status="failed")),
        ("ends", lambda found: with_task(found, tier=3)),
        ("ends", lambda found: found._replace(tasks=found.tasks[1:])),
        ("ends", lambda found: found._replace(tasks=[*found.tasks, found.tasks[0]._replace(task_id="id-3")])),
        ("attempts", lambda found: with_task(found, outcomes=["expired", None])),
        ("attempts", lambda found: with_task(found, outcomes=["completed"])),
        ("agents", lambda found: found._replace(agents=found.agents[:1])),
        ("agents", lambda found: found._replace(agents=[*found.agents[:1], found.agents[1]._replace(tokens=2)])),
        ("agents", lambda found: found._replace(agents=[*found.agents[:1], found.agents[1]._replace(state="IDLE")])),
        ("events", lambda found: without(found, 7)),
        ("events", lambda found: without(found, 4)),
        ("events", lambda found: found._replace(charged=found.charged._replace(events=11))),
        ("events", lambda found: found._replace(events=[*found.events, EventRow(11, "delete", "/x", None)])),
        ("tail", lambda found: without(found, 10)),
        ("files", lambda found: found._replace(files={"/results/a-1.txt": "e1"})),
        ("files", lambda found: found._replace(files=found.files | {"/results/a-1.txt": "e3"})),
        ("files", lambda found: found._replace(files=found.files | {"/more": "e3"})),
        ("files", lambda found: found._replace(charged=found.charged._replace(tasks_queued=1))),
    ],
)
def test_rows_that_are_not_as_the_answers_are_found(check: str, spoilt: Callable[[ZoneRows], ZoneRows]) -> None:
    assert judged(finished(), spoilt(rows()))[check].status is Status.FAIL


def two_at_once(run: PlatformRun) -> None:
    run.tasks["a-1"].claims[1].asked_at, run.tasks["a-1"].claims[1].answered_at = 14.0, 14.1


def wrong_order(run: PlatformRun) -> None:
    run.tasks["a-1"].claims[0] = claim("one", 1, 13.5)


def write_before_the_last(run: PlatformRun) -> None:
    run.zones["alpha"].changes[0] = run.zones["alpha"].changes[0]._replace(asked_at=21.0, answered_at=21.1)


@pytest.mark.parametrize(
    "check,spoil",
    [
        ("once", two_at_once),
        ("once", lambda run: setattr(run.tasks["a-1"].claims[1], "attempt", 1)),
        ("tiers", wrong_order),
        ("taken-over", lambda run: run.tasks["a-1"].claims.pop()),
        ("events", write_before_the_last),
        ("tail", lambda run: run.zones["alpha"].events.pop(3)),
        ("tail", lambda run: run.zones["alpha"].events[3].update(zone_id="show-omega")),
        ("upload", lambda run: setattr(run.upload, "read", "another")),
        ("upload", lambda run: setattr(run.upload, "resumed_at", 10)),
        ("mounted", lambda run: run.mounting.found.update(a="2")),
        ("mounted", lambda run: setattr(run.mounting, "foreign_read", "")),
        ("mounted", lambda run: run.mounting.left.append("/depot/a")),
        ("conflict", lambda run: setattr(run.mounting, "while_open", (THEIRS, THEIRS))),
        ("conflict", lambda run: setattr(run.mounting, "while_open", None)),
        ("conflict", lambda run: setattr(run.mounting, "kept", (OURS, OURS))),
        ("conflict", lambda run: setattr(run.mounting, "open_after", 1)),
        ("isolation", lambda run: run.trespasses.append("alpha lists beta")),
        ("deleted", lambda run: setattr(run.deletion, "after", {"events": 1})),
        ("deleted", lambda run: setattr(run.deletion, "after", None)),
        ("deleted", lambda run: setattr(run.deletion, "objects_after", 1)),
        ("deleted", lambda run: setattr(run.deletion, "key_status", 200)),
    ],
)
def test_answers_that_cannot_be_right_are_found(check: str, spoil: Callable[[PlatformRun], object]) -> None:
    run = finished()
    spoil(run)
    assert judged(run, rows())[check].status is Status.FAIL


@pytest.mark.parametrize(
    "check,spoil",
    [
        ("ends", lambda run: run.tasks.clear()),
        ("tiers", lambda run: run.tasks.clear()),
        ("taken-over", lambda run: run.workers.clear()),
        ("tail", lambda run: run.zones["alpha"].events.clear()),
        ("upload", lambda run: setattr(run, "upload", Sent())),
        ("mounted", lambda run: setattr(run, "mounting", Mounting())),
        ("conflict", lambda run: setattr(run, "mounting", Mounting())),
        ("isolation", lambda run: setattr(run, "looks", 0)),
        ("deleted", lambda run: setattr(run, "deletion", Deletion())),
        ("deleted", lambda run: setattr(run.deletion, "objects_before", None)),
    ],
)
def test_what_did_not_happen_is_undecided(check: str, spoil: Callable[[PlatformRun], object]) -> None:
    run = finished()
    spoil(run)
    assert judged(run, rows())[check].status is Status.INCONCLUSIVE


@pytest.mark.parametrize("final, attempt, may", [(False, 2, True), (False, 3, False), (True, 1, False)])
def test_nobody_falls_silent_with_what_that_would_end_otherwise(final: bool, attempt: int, may: bool) -> None:
    task = Task("a-1", "alpha", 0, 1, final=final, order=None, submitted_at=11.0)
    assert task.may_be_left(claim("one", attempt, 12.0)) is may


def test_a_silent_agent_that_is_connected_still_is_undecided() -> None:
    agents = [AgentRow("one", "CONNECTED", 1, 1), AgentRow("two", "CONNECTED", 1, 3)]
    assert judged(finished(), rows()._replace(agents=agents))["taken-over"].status is Status.INCONCLUSIVE


def test_it_is_told_in_words_and_as_lanes(tmp_path: Path) -> None:
    run = finished()
    assert story(run)[0].startswith("2 agents of 2 zones were given 3 attempts at 2 tasks: 2 were completed")
    assert story(run)[-1] == "Zone omega was deleted with leases running: 1."
    told = lanes.document(run)
    spans = [(span["state"], span["from_ms"], span["to_ms"]) for span in told["tasks"][1]["spans"]]
    assert spans == [("queued", 1000.0, 2100.0), ("left", 2100.0, 9100.0), ("running", 9100.0, 10100.0)]
    spans = [(span["state"], span["from_ms"], span["to_ms"]) for span in told["agents"][0]["spans"]]
    assert spans == [("enrolling", 0.0, 1000.0), ("silent", 2200.0, 11000.0)]
    none: list[Check] = []
    assert CRITERIA.files(run, None, none, tmp_path) == ["platform.json"]
    broken = replace(PLATFORM, broken="tasks/no-tiers: every priority is the same")
    run.scenario = broken
    assert CRITERIA.notes(run)[0].startswith("The backend of this run is broken: tasks/no-tiers")


def test_a_run_that_did_nothing_tells_nothing() -> None:
    assert story(PlatformRun(PLATFORM, "x", 1, frozenset(), 10.0)) == []


@pytest.mark.parametrize("duration_s", [19.0, 3601.0])
def test_a_demonstration_has_a_length(duration_s: float) -> None:
    with pytest.raises(ValueError, match="duration"):
        PlatformShow("platform", devices=12, duration_s=duration_s)


class Always:
    """Answers every request alike."""

    base_url = "http://127.0.0.1:1"

    def __init__(self, status: int, body: bytes) -> None:
        self._answer = Answer(status, {}, body, 1.0, None)

    def send(self, *_: Any, **__: Any) -> Answer:
        return self._answer


TERMINATING = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32006,"message":"m","data":{"code":"zone_terminating"}}}'


@pytest.mark.parametrize(
    "status,body,is_over",
    [(200, TERMINATING, True), (409, b"{}", True), (401, b"{}", True), (500, b"{}", False), (200, b"{}", False)],
)
def test_only_a_zone_that_ends_may_refuse_and_never_by_a_500(status: int, body: bytes, is_over: bool) -> None:
    run = finished()
    client = Client(Always(status, body))
    for name, expected in (("alpha", Refused), ("omega", ZoneOver if is_over else Refused)):
        run.wrong.clear()
        with pytest.raises(expected):
            Caller(run, run.zones[name], client, "key").rpc("write", "write", path="/a", content="a")
        assert bool(run.wrong) is (expected is Refused)
