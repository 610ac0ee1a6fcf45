"""One student against a broker in memory: what it has, what is on record, and each wrong answer."""

from __future__ import annotations

import pytest

from harness.http.client import Client
from load.students.run import StudentRun
from load.students.student import Student
from load.tests.fake_broker import Broker
from load.workloads.students import SMOKE


def student(*faults: str, sandboxes: int = 2) -> tuple[Student, StudentRun, Broker]:
    run, broker = StudentRun(SMOKE, "x", 1, frozenset(), 0.0), Broker(*faults)
    broker.seed("", "x", sandboxes)
    return Student(run, Client(broker), "key-of-the-track", "track-1", "docker-intro"), run, broker


def live(one: Student) -> None:
    """Ask, ask again, look, keep, give back."""
    one.allocate()
    one.allocate()
    if one.held is not None:
        one.view()
        one.extend()
        one.release()


def test_a_good_broker_s_answers_are_on_record_and_none_is_wrong() -> None:
    one, run, broker = student()
    live(one)
    assert not run.wrong
    assert one.held is None
    recorded = [(call.kind, call.status, call.sandbox_id, call.expires_at) for call in run.calls]
    assert recorded == [
        ("allocate", 201, "load-x-1", 2000),
        ("allocate", 200, "load-x-1", 2000),
        ("view", 200, "load-x-1", 2000),
        ("extend", 200, "load-x-1", 2005),
        ("release", 200, "load-x-1", 0),
    ]
    assert all(call.asked_at <= call.ended_at for call in run.calls)
    one.allocate()  # after a release it is new again
    broker.free.clear()
    student_of_nothing = Student(run, Client(broker), "key-of-the-track", "track-2", "docker-intro")
    student_of_nothing.allocate()
    assert (run.outcomes, run.wrong.total(), run.requests) == ({201: 2, 200: 1, 409: 1}, 0, 7)


@pytest.mark.parametrize(
    "fault,wrong",
    [
        ("forgets", "allocate: 201 with another sandbox than it has"),
        ("unmarked", "allocate: 200 without Idempotent-Replay"),
        ("overloaded", "allocate: 503 allocation_contended"),
        ("dead", "allocate: no answer: connection refused"),
        ("shows another", "view: 200 with a wrong body"),
        ("extends backwards", "extend: 200, and it ends sooner"),
    ],
)
def test_a_wrong_answer_is_an_error(fault: str, wrong: str) -> None:
    one, run, _ = student(fault)
    live(one)
    assert wrong in run.wrong
    timings = run.timings()
    assert timings.all().errors == run.wrong.total()


def test_a_409_is_an_error_for_who_has_a_sandbox_and_without_retry_after() -> None:
    one, run, broker = student()
    one.allocate()
    broker.faults.add("forgets")
    broker.free.clear()
    one.allocate()
    assert run.wrong == {"allocate: 409, but it has a sandbox": 1}
    other, run, _ = student("no retry-after", sandboxes=0)
    other.allocate()
    assert run.wrong == {"allocate: 409 with a wrong body or no Retry-After": 1}


def test_a_replay_of_nothing_is_an_error_unless_an_answer_was_lost() -> None:
    one, run, broker = student()
    one.allocate()
    twin = Student(run, Client(broker), "key-of-the-track", "track-1", "docker-intro")
    twin.allocate()
    assert run.wrong == {"allocate: 200, but it had nothing": 1}
    unsure = Student(run, Client(broker), "key-of-the-track", "track-1", "docker-intro")
    broker.faults.add("dead")
    unsure.allocate()
    broker.faults.clear()
    unsure.allocate()
    assert run.wrong.total() == 2  # the lost answer is one; the replay after it is none
    assert run.calls[-2].unsure
