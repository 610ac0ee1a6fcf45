"""Requests that wait for a sandbox, each in a thread of its own, as cases begin and await them."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from acceptance.sandboxes.pool import Student
from acceptance.system.system import System
from harness.http.client import Answer
from harness.waiting import eventually

_PARKED = "select count(*) from waiters where parked_until > clock_timestamp() and track_id = any(%s)"
MOST = 32


class Queue:
    """The parked requests of a case."""

    def __init__(self, system: System, threads: ThreadPoolExecutor) -> None:
        self._system, self._threads = system, threads

    def park(self, *students: Student, wait_s: int | str = 20) -> list[Future[Answer]]:
        """Begin a request of each, one after the other: each is parked before the next begins."""
        begun = []
        for student in students:
            prefer = [("Prefer", f"wait={wait_s}")]
            begun.append(self._threads.submit(student.call, "POST", "/v1/allocate", headers=prefer))
            eventually(partial(self.holds, student), within_s=5.0, what="a parked request")
        return begun

    def holds(self, *students: Student) -> int:
        """How many of them are parked."""
        return int(self._system.db.value(_PARKED, [student.track_id for student in students]))


@contextmanager
def queue(system: System) -> Iterator[Queue]:
    """Requests that wait; what still does at the end of the block is waited for."""
    with ThreadPoolExecutor(MOST) as threads:
        yield Queue(system, threads)
