"""Jobs race with students and with one another, through two workers: nothing is lost, given twice or deleted alive."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import psycopg
import pytest

from acceptance.sandboxes.pool import Pool, Student, listing
from acceptance.suite.case import case
from acceptance.system.locks import unfinished
from acceptance.system.match import accepted
from acceptance.system.system import System
from acceptance.system.web_workers import race
from harness.http.client import Answer
from harness.provider.server import ProviderControl
from harness.waiting import eventually

DEADLOCKS = "select deadlocks from pg_stat_database where datname = current_database()"
OVER = 4 * 3600 + 1800 + 2
Call = Callable[[], Answer]


def consistent(pool: Pool) -> None:
    """The states of the pool are those of the ledger; no sandbox and no track has two live allocations."""
    wrong = pool.system.db.rows(
        """
        select s.sandbox_id, s.status, a.track_id, a.end_reason from sandboxes as s
        left join allocations as a using (sandbox_id)
        where (s.status in ('available', 'stale')) <> (a.allocation_id is null)
            or (s.status = 'allocated') <> (a.allocation_id is not null and a.ended_at is null)
        """
    )
    assert wrong == []
    live = pool.system.db.rows(
        "select track_id from allocations where ended_at is null group by track_id having count(*) > 1"
    )
    assert live == []


def holders(pool: Pool, count: int) -> list[tuple[Student, str]]:
    """Students who each have a sandbox."""
    return [(student, student.has()["sandbox_id"]) for student in pool.students(count)]


@case("job-races/001", "syncSandboxes 200", "allocateSandbox 201")
@pytest.mark.parametrize("listed", ["all, renamed", "all but five"])
def test_syncs_race_with_allocations(listed: str, pool: Pool, provider: ProviderControl, system: System) -> None:
    """Of a pool that a sync changes at that moment everybody gets a sandbox of their own: no 409, no 503."""
    accounts = provider.add(45)
    accepted(pool.sync())
    changed = [one | {"name": "renamed"} for one in accounts] if "renamed" in listed else accounts[5:]
    provider.script("list", [{**listing(changed), "times": 0}])
    before = provider.calls("list")[-1]["seq"]

    def after_the_list(number: int, student: Student) -> Answer:
        provider.calls("list", after=before, wait_s=10)
        time.sleep(number * 0.06)  # noqa: TID251 - they come one after another, for as long as a sync may take
        return student.allocate()

    calls: list[Call] = [partial(after_the_list, *student) for student in enumerate(pool.students(40))]
    first, second, *answers = race(system, [pool.sync, pool.sync, *calls])
    assert Counter(answer.status for answer in answers) == {201: 40}
    assert len({answer.json()["sandbox_id"] for answer in answers}) == 40
    assert sorted(answer.status for answer in (first, second)) in ([200, 200], [200, 409])
    consistent(pool)


@case("job-races/002", "syncSandboxes 200", "releaseSandbox 200")
def test_syncs_race_with_releases(pool: Pool, provider: ProviderControl, system: System) -> None:
    """What is released while a sync lists it stays out of the pool; the next request finds none (003: once)."""
    provider.add(20)
    accepted(pool.sync())
    releases: list[Call] = [partial(student.release, one) for student, one in holders(pool, 20)]
    answers = race(system, [pool.sync, *releases, pool.sync])
    assert [answer.status for answer in answers[1:-1]] == [200] * 20
    assert {answers[0].status, answers[-1].status} <= {200, 409}, "two syncs"
    assert set(pool.statuses().values()) == {"pending_deletion"}
    assert pool.student().allocate().status == 409
    consistent(pool)


@case("job-races/003", "expireAllocations 200", "releaseSandbox 200", slow="waits for locks that are held")
def test_a_sweep_meets_a_release(pool: Pool, system: System) -> None:
    """An allocation that is being given back as its grace ends is released, as its track is told, and not expired."""
    [held] = pool.seed()
    student = pool.student()
    student.has()
    pool.age(held, OVER - 2)
    pool.write("update allocations set grace_until = clock_timestamp() + interval '0.3 s'")
    with ThreadPoolExecutor(2) as threads:
        with unfinished(system, "select from sandboxes where sandbox_id = %s for update", held) as wait_for:
            releasing = threads.submit(student.release, held)
            wait_for(1)
            eventually(lambda: system.db.value("select now() > grace_until from allocations"), within_s=2.0)
            sweeping = threads.submit(pool.expire)
            wait({sweeping}, timeout=0.5)  # it passes over the row; one that waits for it goes on when it is let go
        accepted(releasing.result())
        assert accepted(sweeping.result())["expired"] == 0
    assert pool.ledger(held)["end_reason"] == "released"
    consistent(pool)


@case("job-races/004", "expireAllocations 200", "allocateSandbox 201")
def test_sweeps_race_with_allocations(pool: Pool, system: System) -> None:
    """A track that asks as its old allocation is swept gets a new sandbox; the old one has ended once (003)."""
    pool.seed(60)
    held = holders(pool, 30)
    for _, sandbox_id in held:
        pool.age(sandbox_id, OVER)
    calls: list[Call] = [student.allocate for student, _ in held]
    mixed: list[Call] = [*calls[:15], pool.expire, *calls[15:], pool.expire]
    with system.metrics.moves({'nexmdm_sandboxes_allocations_total{outcome="new"}': 30}):
        answers = race(system, mixed)
        assert Counter(answer.status for answer in answers) == {201: 30, 200: 2}
    ended = Counter(row["end_reason"] for row in system.db.rows("select end_reason from allocations"))
    assert ended == {"expired": 30, None: 30}
    consistent(pool)


@case("job-races/005", "cleanUpSandboxes 200", "releaseSandbox 200")
def test_cleanups_race_with_releases_and_allocations(pool: Pool, provider: ProviderControl, system: System) -> None:
    """Each released sandbox is deleted once, by whichever process; no live one is ever deleted (003: cleanup)."""
    [in_hand] = pool.released(provider.add(1))
    with unfinished(system, "select from sandboxes where sandbox_id = %s for update", in_hand):
        accepted(pool.cleanup())
        assert provider.calls("delete") == [], "another process has it"
    pool.seed_listed(provider.add(40))
    held = holders(pool, 20)
    releases: list[Call] = [partial(student.release, one) for student, one in held]
    others: list[Call] = [student.allocate for student in pool.students(20)]
    mixed: list[Call] = [call for pair in zip(releases, others, strict=True) for call in pair]
    answers = race(system, [pool.cleanup, *mixed, pool.cleanup, pool.cleanup])
    assert Counter(answer.status for answer in answers) == {200: 23, 201: 20}
    accepted(pool.cleanup())
    deleted = Counter(str(call["csp_id"]) for call in provider.calls("delete"))
    assert deleted == dict.fromkeys([in_hand, *(one for _, one in held)], 1)
    assert Counter(pool.statuses().values()) == {"deleted": 21, "allocated": 20}
    consistent(pool)


@case(
    "job-races/006",
    "bulkDeleteSandboxes 200",
    "syncSandboxes 200",
    "allocateSandbox 201",
    slow="waits for locks that are held",
)
def test_bulk_deletions_race_with_syncs_and_allocations(pool: Pool, provider: ProviderControl, system: System) -> None:
    """A stale sandbox is either forgotten or available again; what a student has got is in the books (003)."""
    stale = pool.seed_listed(provider.add(20))
    pool.seed_listed(provider.add(40))
    rows = "select count(*) from sandboxes where status <> 'stale' and created_at < %s"
    began = system.db.value("select clock_timestamp()")
    for sandbox_id in stale:
        pool.put(sandbox_id, "stale")
    remove: Call = partial(pool.bulk_delete, status="stale")
    forget: Call = partial(pool.remove_stale, grace_period_hours=0)
    calls: list[Call] = [student.allocate for student in pool.students(20)]
    answers = race(system, [pool.sync, remove, *calls, remove, forget])
    assert Counter(answer.status for answer in answers) == {200: 4, 201: 20}
    accepted(pool.sync())
    assert Counter(pool.statuses().values()) == {"allocated": 20, "available": 40}
    assert system.db.value(rows, began) >= 40, "what was free was never forgotten"
    consistent(pool)


@case("job-races/007", "bulkDeleteSandboxes 200", "cleanUpSandboxes 200")
def test_bulk_deletions_race_with_failing_cleanups(pool: Pool, provider: ProviderControl, system: System) -> None:
    """A failed deletion that is given up while others fail is a tombstone, and is not called again (003)."""
    ids = pool.released(provider.add(12))
    pool.write("update sandboxes set delete_attempts = 7")
    provider.script("delete", [{"status": 409, "times": 0}])
    remove: Call = partial(pool.bulk_delete, status="deletion_failed")
    answers = race(system, [pool.cleanup, remove, pool.cleanup, remove, remove])
    assert [answer.status for answer in answers] == [200] * 5
    assert len(provider.calls("delete")) == len({call["id"] for call in provider.calls("delete")}) == 12
    accepted(remove())
    assert pool.statuses() == dict.fromkeys(ids, "deleted")
    consistent(pool)


@case("job-races/008", "syncSandboxes 200", "cleanUpSandboxes 200", slow="runs everything for five seconds")
def test_all_jobs_race_with_one_another(pool: Pool, provider: ProviderControl, system: System) -> None:
    """All jobs beside everything a student does, at once for five seconds: no deadlock, no 500, the books are right."""
    accounts = provider.add(400)
    accepted(pool.sync())
    before = system.db.value(DEADLOCKS)
    provider.script("delete", [{"status": 409, "every": 7, "times": 0}])
    until = time.monotonic() + 5

    def repeat(call: Call) -> list[Answer]:
        answers = []
        while time.monotonic() < until:
            answers.append(call())
        return answers

    def life(number: int) -> Call:
        def live() -> Answer:
            student = pool.student()
            answer = student.allocate()
            if answer.status != 201:
                return answer
            sandbox_id = answer.json()["sandbox_id"]
            ends: list[Call] = [
                partial(student.release, sandbox_id),
                partial(student.extend, sandbox_id),
                partial(aged, sandbox_id),
            ]
            return ends[number % 3]()

        return live

    def aged(sandbox_id: str) -> Answer:
        pool.age(sandbox_id, OVER)
        return pool.expire()

    def moving() -> Answer:
        lost: list[Any] = [one["csp_id"] for one in accounts[: 1 + int(time.monotonic() * 10) % 5]]
        provider.script("list", [listing([one for one in provider.accounts() if one["csp_id"] not in lost])])
        return pool.sync()

    def due() -> Answer:
        pool.due()
        return pool.cleanup()

    jobs: list[Call] = [
        moving,
        pool.sync,
        due,
        pool.cleanup,
        pool.expire,
        partial(pool.remove_stale, grace_period_hours=0),
        partial(pool.bulk_delete, status="stale"),
        partial(pool.bulk_delete, status="deletion_failed"),
    ]
    told = race(system, [partial(repeat, call) for call in [*jobs, *(life(number) for number in range(6))]])
    seen = Counter(answer.status for answers in told for answer in answers)
    assert set(seen) <= {200, 201, 409, 502, 503}, seen
    assert system.db.value(DEADLOCKS) == before
    consistent(pool)
    deleted = {call["csp_id"] for call in provider.calls("delete")}
    live = {
        int(row["sandbox_id"]) for row in system.db.rows("select sandbox_id from allocations where ended_at is null")
    }
    assert not deleted & live


@case("job-races/009", "bulkDeleteSandboxes 200", slow="waits for locks that are held")
@pytest.mark.parametrize("how", ["bulk-delete", "auto-delete-stale"])
def test_a_removal_meets_a_revival(how: str, pool: Pool, system: System) -> None:
    """A stale sandbox that becomes available at this moment is not removed (sandboxes.md: states)."""
    [revived] = pool.seed()
    pool.put(revived, "stale")
    remove: Call = partial(pool.bulk_delete, status="stale")
    if how != "bulk-delete":
        remove = partial(pool.remove_stale, grace_period_hours=0)
    with ThreadPoolExecutor(1) as threads, psycopg.connect(system.target.database_url or "") as other:
        other.execute("update sandboxes set status = 'available', status_since = now(), made_available_at = now()")
        removing = threads.submit(remove)
        wait({removing}, timeout=0.5)
        other.commit()
        assert accepted(removing.result())["deleted"] == 0
    assert pool.student().has()["sandbox_id"] == revived
