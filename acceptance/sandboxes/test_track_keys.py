"""The key of a platform: it is judged before anything else of a request, and may speak for every track."""

import pytest

from acceptance.sandboxes.pool import Pool, Student
from acceptance.suite.case import case
from acceptance.system import api_keys
from acceptance.system.match import accepted, refused
from acceptance.system.raw import Raw
from acceptance.system.system import System, Unchanged
from acceptance.system.web_workers import both

LAST_USED = "select last_used_at from api_keys where name = %s"
UNKNOWN = "nxk_" + "A" * 43
# What is wrong with the rest of a request, of which its key is judged first.
BROKEN: dict[str, list[tuple[str, str]]] = {
    "no track": [],
    "two tracks": [("X-Track-ID", "one"), ("X-Track-ID", "another")],
    "a track of 3 KB": [("X-Track-ID", "t" * 3_000)],
    "a wrong key of idempotency": [("X-Track-ID", "one"), ("Idempotency-Key", "\xe4")],
}


@case("track-keys/001", "allocateSandbox 401", "allocateSandbox 403", "releaseSandbox 401", "releaseSandbox 403")
@pytest.mark.parametrize("broken", BROKEN)
def test_the_key_is_judged_first(broken: str, raw: Raw, system: System, pool: Pool, unchanged: Unchanged) -> None:
    """Whatever else is wrong with it, a request without the right key is 401 or 403 (003: requires a bearer token)."""
    pool.seed()
    elsewhere = api_keys.create(system, ["fleet"], role="track").secret
    revoked = api_keys.create(system, role="track")
    api_keys.revoke(system, revoked.name)
    admin = pool.admin_key
    with unchanged():
        for line in ("POST /v1/allocate", "POST /v1/sandboxes/%00/mark-for-deletion", "GET /v1/allocations/current"):
            answer = raw(line, *BROKEN[broken])
            refused(answer, 401, "token_missing")
            system.logs.expect(answer, "sec.auth.fail", code="token_missing", level="WARNING")
            for key in (UNKNOWN, "nxk_short", elsewhere, revoked.secret):
                answer = raw(line, ("Authorization", f"Bearer {key}"), *BROKEN[broken])
                refused(answer, 401, "token_invalid")
                system.logs.expect(answer, "sec.auth.fail", code="token_invalid", level="WARNING")
            twice = [("Authorization", f"Bearer {UNKNOWN}")] * 2
            refused(raw(line, *twice, *BROKEN[broken]), 401, "token_invalid")
            refused(raw(line, ("Authorization", f"Basic {UNKNOWN}"), *BROKEN[broken]), 401, "token_invalid")
            answer = raw(line, ("Authorization", f"Bearer {admin}"), *BROKEN[broken])
            refused(answer, 403, "track_required")
            system.logs.expect(answer, "sec.auth.fail", code="track_required", level="WARNING")


@case("track-keys/002", "allocateSandbox 401", "getSandbox 401")
def test_a_revocation_holds_at_once_in_every_worker(two_workers: System, pool_of_two: Pool) -> None:
    """A key that both workers have let in is refused by both from its revocation on, also by an empty pool (003)."""
    key = api_keys.create(two_workers, role="track")
    student = Student(two_workers, key.secret, pool_of_two.student().track_id)
    pool_of_two.seed()
    with both(two_workers):
        given = student.has()["sandbox_id"]
        for _ in range(4):
            accepted(student.allocate())
            accepted(student.look(given))
            refused(pool_of_two.student().allocate(), 409, "no_sandboxes_available")
        api_keys.revoke(two_workers, key.name)
        with two_workers.unchanged():
            for _ in range(4):
                refused(student.allocate(), 401, "token_invalid")
                refused(student.look(given), 401, "token_invalid")


@case("track-keys/005", "allocateSandbox 201", "allocateSandbox 401")
def test_a_revoked_key_gets_nothing_of_a_full_pool(system: System, pool: Pool, unchanged: Unchanged) -> None:
    """From its revocation on a key gets no sandbox, for a known track or a new one, though there are some (003)."""
    key = api_keys.create(system, role="track")
    pool.seed(4)
    pool.student().has()  # this process knows that the pool is not empty
    known, new = (Student(system, key.secret, pool.student().track_id) for _ in range(2))
    known.has()
    api_keys.revoke(system, key.name)
    with unchanged():
        for student in (known, new):
            refused(student.allocate(), 401, "token_invalid")


@case("track-keys/003", "allocateSandbox 201", "allocateSandbox 409")
def test_the_use_of_a_key_is_noted_once_a_minute(system: System, pool: Pool) -> None:
    """The first use of a key in a minute is noted, later ones are not, also by an empty pool (issue 12)."""
    key = api_keys.create(system, role="track")

    def ask() -> int:
        return Student(system, key.secret, pool.student().track_id).allocate().status

    def noted() -> object:
        return system.db.value(LAST_USED, key.name)

    pool.seed(2)
    assert (noted(), ask()) == (None, 201)
    first = noted()
    assert first is not None
    assert (ask(), noted()) == (201, first)
    assert (ask(), ask(), noted()) == (409, 409, first)
    pool.write("update api_keys set last_used_at = now() - interval '61 s' where name = %(name)s", name=key.name)
    assert ask() == 409  # the pool is known to be empty: one look, and no call
    assert system.db.value("select last_used_at > now() - interval '30 s' from api_keys where name = %s", key.name)


@case("track-keys/004", "allocateSandbox 201")
def test_a_key_of_this_service_alone_speaks_for_every_track(system: System, pool: Pool) -> None:
    """A key for the broker alone is as good as one for all services, and speaks for any track (operations.md)."""
    pool.seed(2)
    key = api_keys.create(system, ["sandboxes"], role="track").secret
    one, other = (Student(system, key, student.track_id) for student in pool.students(2))
    given = one.has()["sandbox_id"]
    assert other.has()["sandbox_id"] != given
    accepted(Student(system, pool.track_key, one.track_id).release(given))
