"""What the admin reads of the pool as a whole: how many sandboxes are in each state, and what labs have used."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from acceptance.sandboxes.pool import Pool
from acceptance.sandboxes.test_pool import STATUSES
from acceptance.suite.case import case
from acceptance.system.concurrency import at_once
from acceptance.system.locks import unfinished
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.roles import as_owner
from acceptance.system.system import FreshBackend, System, Unchanged
from harness.http.client import Answer
from harness.waiting import eventually

STATS, USAGE = "/v1/admin/stats", "/v1/admin/usage"
# Of requests: the gauges count the pool, too, in a statement of another shape.
_COUNTING = r"""
    select count(*) from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock' and query ~ 'now\(\) AS as_of'
"""
_PLANT = """
    insert into allocations (sandbox_id, track_id, track_name, duration_s, allocated_at, expires_at, grace_until,
        deadline, ended_at, end_reason, revoke_reason)
    select %(id)s, %(id)s, %(lab)s, 14400, t, t + interval '1 h', now() + interval '1 h', t + interval '1 h',
        t + %(hours)s * interval '1 h', %(ended)s, case when %(ended)s = 'revoked' then 'a case' end
    from cast(%(at)s as timestamptz) as t
"""
_LABS = """
    with given as (
        insert into sandboxes (sandbox_id, external_id, name, status, made_available_at, first_allocated_at)
        select n, n, n, 'allocated', now(), now() from generate_series(1, 1003) as n returning sandbox_id
    )
    insert into allocations (sandbox_id, track_id, track_name, duration_s, allocated_at, expires_at, grace_until,
        deadline)
    select sandbox_id, sandbox_id, case when sandbox_id in ('1', '2') then 'z' else sandbox_id end, 3600, t,
        t + interval '1 h', t + interval '1 h', t + interval '1 h'
    from given, date_trunc('second', now()) as t
"""


def counted(pool: Pool) -> dict[str, int]:
    rows = pool.system.db.rows("select status, count(*) as number from sandboxes group by status")
    return dict.fromkeys(STATUSES, 0) | {row["status"]: row["number"] for row in rows}


@case("stats/001", "getSandboxStats 200")
def test_stats_are_what_is_stored(pool: Pool) -> None:
    """Each state is counted; total leaves out the deleted; labs are those of live allocations (003: admin stats)."""
    ids = pool.seed(9)
    for sandbox_id, status in zip(ids, ("stale", "deleting", "deletion_failed", "deleted"), strict=False):
        pool.put(sandbox_id, status)
    lab = f"lab-{uuid.uuid4().hex}"
    students = [pool.student(lab=name) for name in (lab, lab, lab, None)]
    given = [student.has()["sandbox_id"] for student in students]
    accepted(students[0].release(given[0]))
    answer = pool.admin("GET", STATS)
    stats, stored = accepted(answer), counted(pool)
    assert {status: stats[status] for status in STATUSES} == stored
    assert min(stored.values()) >= 1
    assert stats["total"] == sum(stored.values()) - stored["deleted"]
    labs = {item["track_name"]: item["allocated"] for item in stats["by_track_name"]}
    rows = pool.system.db.rows("select track_name, count(*) as n from allocations where ended_at is null group by 1")
    assert labs == {row["track_name"]: row["n"] for row in rows}
    assert (labs[lab], labs[None] >= 1) == (2, True)
    sizes = [item["allocated"] for item in stats["by_track_name"]]
    assert sizes == sorted(sizes, reverse=True)
    assert abs(stats["as_of"] - pool.system.db.value("select extract(epoch from now())::bigint")) <= 2
    pool.system.logs.expect(answer, "http.request", status=200)


@case("stats/002", "getSandboxStats 200")
def test_stats_follow_the_pool(pool: Pool) -> None:
    """An allocation and a release are in the next answer: none is older than the setting (issue 13)."""

    def moved() -> tuple[int, int, int]:
        stats = accepted(pool.admin("GET", STATS))
        return stats["available"], stats["allocated"], stats["pending_deletion"]

    pool.seed(2)
    free, given, over = moved()
    student = pool.student()
    sandbox_id = student.has()["sandbox_id"]
    assert moved() == (free - 1, given + 1, over)
    accepted(student.release(sandbox_id))
    assert moved() == (free - 1, given, over + 1)


@case("stats/003", "getSandboxStats 200")
def test_a_crowd_of_dashboards_is_one_count(fresh_backend: FreshBackend) -> None:
    """Those who ask during a count wait for one more: slow ones hold one connection, others are served (issue 13)."""
    system: System = fresh_backend(env={"NEXMDM_DB_POOL_SIZE": "2"})
    pool = Pool(system)
    pool.seed(3)
    with ThreadPoolExecutor(1) as threads, as_owner(system) as owner:  # the owner sees what others ask
        with unfinished(system, "lock table sandboxes"):
            crowd = threads.submit(at_once, [lambda: pool.admin("GET", STATS)] * 15)
            eventually(lambda: owner.execute(_COUNTING).fetchone() == (1,), within_s=4.0)
            began = time.monotonic()
            for _ in range(10):
                accepted(pool.admin("GET", "/v1/devices", params={"limit": 1}))
            took_s = time.monotonic() - began
        answers = crowd.result()
    assert took_s < 3, f"10 requests beside a slow count took {took_s:.1f} s"
    assert {accepted(answer)["available"] for answer in answers} == {3}


@case("stats/004", "getSandboxStats 200")
def test_within_its_period_a_count_is_not_repeated(fresh_backend: FreshBackend) -> None:
    """NEXMDM_STATS_EVERY_S is how old an answer may be: until then each is the same (issue 13)."""
    pool = Pool(fresh_backend(env={"NEXMDM_STATS_EVERY_S": "60"}))
    first = pool.admin("GET", STATS)
    assert accepted(first)["available"] == 0
    pool.seed()
    assert pool.admin("GET", STATS).body == first.body


@case("stats/005", "getSandboxStats 200", slow="a pool of a thousand labs")
def test_of_many_labs_the_largest_are_shown(fresh_backend: FreshBackend) -> None:
    """Of more than 1,000 labs the answer names the 1,000 with the most live allocations (issue 13: limits)."""
    pool = Pool(fresh_backend())
    pool.write(_LABS)
    shown = accepted(pool.admin("GET", STATS))["by_track_name"]
    assert shown[0] == {"track_name": "z", "allocated": 2}
    assert len(shown) == 1000


def usage(pool: Pool, first: str, last: str) -> Answer:
    return pool.admin("GET", USAGE, params={"from": first, "to": last})


def plant(pool: Pool, lab: str, at: datetime, ended: str | None = None, hours: float | None = None) -> None:
    """An allocation of this lab that began then, and how it has ended so many hours later."""
    [sandbox_id] = pool.seed()
    pool.put(sandbox_id, "allocated")
    pool.write(_PLANT, id=sandbox_id, lab=lab, at=at, ended=ended, hours=hours)
    if ended is not None:
        pool.put(sandbox_id, "pending_deletion")


@case("usage/001", "getSandboxUsage 200")
def test_usage_by_lab_and_day(pool: Pool) -> None:
    """Per lab and day of allocation in UTC: how many, how they ended, the median hours of the ended (issue 13)."""
    mark = uuid.uuid4().hex
    one, other = f"aws-{mark}", f"gcp-{mark}"
    first: datetime = pool.system.db.value("select date_trunc('day', now(), 'utc') - interval '20 days'")
    second, third = first + timedelta(days=1), first + timedelta(days=2)
    instant = timedelta(microseconds=1)
    plant(pool, one, first - instant, "released", 100)
    plant(pool, one, first, "released", 1)
    plant(pool, one, first + timedelta(hours=12), "expired", 4.5)
    plant(pool, one, second - instant, "revoked", 2)
    plant(pool, one, second - instant)
    plant(pool, other, second)
    plant(pool, one, second, "released", 0.5)
    plant(pool, one, third - instant, "released", 2)
    plant(pool, one, third, "released", 100)
    days = [moment.astimezone(UTC).date().isoformat() for moment in (first, second)]
    answer = usage(pool, *days)
    nothing = {"live": 0, "released": 0, "expired": 0, "revoked": 0}
    of_first = {"live": 1, "released": 1, "expired": 1, "revoked": 1}
    assert [item for item in accepted(answer)["items"] if item["track_name"] in (one, other)] == [
        {"day": days[0], "track_name": one, "allocations": 4, **of_first, "median_hours": 2.0},
        {"day": days[1], "track_name": one, "allocations": 2, **nothing, "released": 2, "median_hours": 1.25},
        {"day": days[1], "track_name": other, "allocations": 1, **nothing, "live": 1, "median_hours": None},
    ]
    pool.system.logs.expect(answer, "http.request", status=200)


@case("usage/002", "getSandboxUsage 200")
def test_what_a_track_does_is_used(pool: Pool) -> None:
    """An allocation and its release are in the usage of their day, under their lab (issue 13)."""
    pool.seed()
    student = pool.student(lab=f"lab-{uuid.uuid4().hex}")
    given = student.has()
    accepted(student.release(given["sandbox_id"]))
    day = datetime.fromtimestamp(given["allocated_at"], UTC).date().isoformat()
    [mine] = [item for item in accepted(usage(pool, day, day))["items"] if item["track_name"] == given["track_name"]]
    assert (mine["day"], mine["allocations"], mine["released"], mine["median_hours"]) == (day, 1, 1, 0.0)


@case("usage/003", "getSandboxUsage 422")
@pytest.mark.parametrize(
    "query,pointer",
    [
        ("", "/query/from"),
        ("from=2026-11-01", "/query/to"),
        ("to=2026-11-01", "/query/from"),
        ("from=2026-11-02&to=2026-11-01", "/query/to"),
        ("from=2026-01-01&to=2026-04-01", "/query/to"),
        ("from=0001-01-01&to=9999-12-31", "/query/to"),
        ("from=2026-02-29&to=2026-03-01", "/query/from"),
        ("from=0000-01-01&to=2026-01-01", "/query/from"),
        ("from=2026-11-01&to=2026-11-1", "/query/to"),
        ("from=20261101&to=2026-11-01", "/query/from"),
        ("from=2026-W45-1&to=2026-11-01", "/query/from"),
        ("from=1793491200&to=2026-11-01", "/query/from"),
        ("from=2026-11-01T00:00:00Z&to=2026-11-01", "/query/from"),
        ("from=%002026-11-01&to=2026-11-01", "/query/from"),
        ("from=2026-11-01&to=2026-11-01&to=2026-11-01", "/query/to"),
    ],
    ids=lambda value: value[:40] or "nothing",
)
def test_days_that_cannot_be_are_refused(query: str, pointer: str, pool: Pool, unchanged: Unchanged) -> None:
    """Both days are asked for, exist, are in order and at most 90; anything else is a 422 that names it (issue 13)."""
    with unchanged():
        answer = pool.admin("GET", f"{USAGE}?{query}")
    assert pointer in pointers(refused(answer, 422, "validation_error"))
    pool.system.logs.expect(answer, "http.request", status=422)


@case("usage/004", "getSandboxUsage 200")
def test_ninety_days_and_the_ends_of_the_calendar(pool: Pool) -> None:
    """Ninety days are answered, and so are the first and the last day that there is (issue 13)."""
    for first, last in (("2026-01-01", "2026-03-31"), ("0001-01-01", "0001-01-01"), ("9999-12-31", "9999-12-31")):
        assert accepted(usage(pool, first, last))["items"] is not None
