"""What every operation of the broker refuses of a request itself: who the track is, and parameters given twice."""

import pytest

from acceptance.access.requests import CALLS, NOTHING
from acceptance.sandboxes.pool import Pool
from acceptance.suite.case import case
from acceptance.system.logs import Logs
from acceptance.system.match import pointers, refused
from acceptance.system.raw import Raw
from acceptance.system.system import Unchanged

OF_A_TRACK = [name for name, one in CALLS.items() if one.caller == "track"]
OF_THE_POOL = [name for name, one in CALLS.items() if one.caller == "pool" and name != "getSandboxStats"]
FIRST, SECOND, LAB = "X-Instruqt-Sandbox-ID", "X-Track-ID", "X-Instruqt-Track-ID"
GOOD = (SECOND, "student-1")
MALFORMED: dict[str, list[str]] = {
    "twice": ["a", "b"],
    "twice the same": ["a", "a"],
    "too long": ["x" * 256],
    "3 KB": ["x" * 3000],
    "not ASCII": ["stud\xe9nt"],
    "a tab inside": ["a\tb"],
}


@case(
    "sandbox-requests/001",
    "allocateSandbox 400",
    "getCurrentAllocation 400",
    "getSandbox 400",
    "extendSandbox 400",
    "releaseSandbox 400",
)
@pytest.mark.parametrize("fault", MALFORMED)
def test_each_operation_judges_the_headers_that_name_the_track(
    fault: str, pool: Pool, raw: Raw, logs: Logs, unchanged: Unchanged
) -> None:
    """A track or lab header that is doubled, too long or no printable ASCII is a 400, also where another wins (003)."""
    key = ("Authorization", f"Bearer {pool.track_key}")
    values = MALFORMED[fault]
    with unchanged():
        answers = {
            (name, header): raw(
                f"{CALLS[name].method} {CALLS[name].path.format(**NOTHING)}",
                key,
                *([GOOD] if header == LAB else [(FIRST, "wins")] if header == SECOND else []),
                *((header, value) for value in values),
            )
            for name in OF_A_TRACK
            for header in (FIRST, SECOND, LAB)
        }
    for (name, header), answer in answers.items():
        refused(answer, 400, "track_name_invalid" if header == LAB else "track_id_invalid")
        assert values[0].encode("latin-1") not in answer.body or len(values[0]) == 1, name
        logs.expect(answer, "http.request", status=400)


@case(
    "sandbox-requests/002",
    "allocateSandbox 400",
    "getCurrentAllocation 400",
    "getSandbox 400",
    "extendSandbox 400",
    "releaseSandbox 400",
)
@pytest.mark.parametrize("named", [[], [(FIRST, "")], [(SECOND, "  ")], [(FIRST, ""), (SECOND, "")], [(LAB, "lab")]])
def test_each_operation_needs_a_track(named: list[tuple[str, str]], pool: Pool, raw: Raw, unchanged: Unchanged) -> None:
    """Without a track, or with a blank one, each operation of a track is a 400 track_id_missing (003: X-Track-ID)."""
    key = ("Authorization", f"Bearer {pool.track_key}")
    with unchanged():
        for name in OF_A_TRACK:
            answer = raw(f"{CALLS[name].method} {CALLS[name].path.format(**NOTHING)}", key, *named)
            refused(answer, 400, "track_id_missing")


@case(
    "sandbox-requests/003",
    "syncSandboxes 422",
    "cleanUpSandboxes 422",
    "expireAllocations 422",
    "deleteStaleSandboxes 422",
    "bulkDeleteSandboxes 422",
    "listSandboxes 422",
    "getSandboxUsage 422",
)
def test_a_parameter_given_twice_is_refused(pool: Pool, logs: Logs, unchanged: Unchanged) -> None:
    """Which of two values counts would be a guess: each admin operation with a query refuses it (openapi.yaml)."""
    names = [name for name in OF_THE_POOL if name not in ("revokeSandbox", "retrySandboxDeletion")]
    with unchanged():
        for name in names:
            one = CALLS[name]
            path = one.path.format(**NOTHING)
            answer = pool.admin(one.method, f"{path}{'&' if '?' in path else '?'}twice=1&twice=2")
            assert pointers(refused(answer, 422, "validation_error")) == {"/query"}, name
            logs.expect(answer, "http.request", status=422)
