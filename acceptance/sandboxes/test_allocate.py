"""A student asks for a sandbox: one, once, the same again, and a refusal that says why."""

import pytest

from acceptance.sandboxes.pool import Pool, Student
from acceptance.suite.case import case
from acceptance.system import api_keys
from acceptance.system.api_keys import ApiKey
from acceptance.system.locks import unfinished
from acceptance.system.match import accepted, refused
from acceptance.system.raw import Raw
from acceptance.system.roles import as_app, refusal
from acceptance.system.system import System, Unchanged
from harness.http.client import Answer

UNKNOWN = ApiKey("nobody", "nxk_" + "A" * 43)
HOUR = 3_600
CHECK_VIOLATION, UNIQUE_VIOLATION = "23514", "23505"
SECOND = """
    insert into allocations (sandbox_id, track_id, idempotency_key, duration_s, allocated_at, expires_at, grace_until,
        deadline, ended_at, end_reason)
    select '{free}', track_id, {key}, 1, now(), now() + '1 h', now() + '1 h', now() + '1 h', {ended}
    from allocations where sandbox_id = '{given}'
"""
TRACK_LOCK = "select pg_advisory_xact_lock(1396855378, hashtext(%s))"
COUNTED = 'nexmdm_sandboxes_allocations_total{{outcome="{0}"}}'
TIMED = 'nexmdm_sandboxes_allocation_seconds_count{{outcome="{0}"}}'


def counted(outcome: str, times: int = 1) -> dict[str, float]:
    """What so many requests with this outcome add to the metrics."""
    return {COUNTED.format(outcome): times, TIMED.format(outcome): times}


@case("allocate/001", "allocateSandbox 201")
def test_a_new_track_gets_a_sandbox_of_the_pool(system: System, pool: Pool) -> None:
    """A track without a sandbox gets a free one: 201, its row, its line, its count (003: successful allocation)."""
    [free] = pool.seed()
    somebody = pool.student(lab="aws-security-101")
    before = system.db.value("select floor(extract(epoch from clock_timestamp()))::bigint")
    with system.metrics.moves(counted("new")):
        answer = somebody.allocate()
    given = accepted(answer, 201)
    assert "idempotent-replay" not in answer.headers
    row, sandbox = pool.ledger(free), pool.row(free)
    assert before <= given["allocated_at"] <= before + 5
    assert given == {
        "sandbox_id": free,
        "name": sandbox["name"],
        "external_id": sandbox["external_id"],
        "allocated_at": row["allocated_at"].timestamp(),
        "expires_at": row["allocated_at"].timestamp() + 14_400,
        "track_name": "aws-security-101",
    }
    assert (row["grace_until"] - row["allocated_at"]).total_seconds() == 14_400 + 1_800
    assert (row["deadline"] - row["allocated_at"]).total_seconds() == 28_800
    assert (row["duration_s"], row["ended_at"], row["idempotency_key"]) == (14_400, None, None)
    assert (row["track_id"], row["track_name"]) == (somebody.track_id, "aws-security-101")
    assert sandbox["status"] == "allocated"
    assert 0 <= (sandbox["first_allocated_at"] - row["allocated_at"]).total_seconds() < 1
    named = {"sandbox_id": free, "track_id": somebody.track_id, "track_name": "aws-security-101"}
    assert system.logs.expect(answer, "sandboxes.allocated", **named)["level"] == "INFO"


@case("allocate/002", "allocateSandbox 200")
def test_a_repeat_is_the_same_answer(system: System, pool: Pool, unchanged: Unchanged) -> None:
    """A track that has a sandbox gets that one, whatever lab or key it names, marked as a replay (003: idempotency)."""
    pool.seed(3)
    somebody = pool.student(lab="kubernetes-basics")
    first = somebody.has(key="one")
    with system.metrics.moves(counted("replay", 5)), unchanged():
        again = [
            somebody.allocate(key="one"),
            somebody.allocate(),
            pool.student(somebody.track_id, lab="docker-intro").allocate(),
            pool.student(somebody.track_id).allocate(),
            somebody.allocate(key="another"),
        ]
    for answer in again:
        assert accepted(answer) == first
        assert answer.headers["idempotent-replay"] == "true"
        system.logs.expect(answer, "sandboxes.replayed", sandbox_id=first["sandbox_id"], track_id=somebody.track_id)


@case("allocate/003", "allocateSandbox 409", "allocateSandbox 200", "allocateSandbox 410", "allocateSandbox 401")
def test_an_empty_pool(system: System, pool: Pool, unchanged: Unchanged) -> None:
    """When nothing is free, a new track hears 409, a holder its own, an ended key 410, a wrong key 401 (003: 503)."""
    pool.seed(2)
    holder, over, new = pool.student(), pool.student(), pool.student(lab="terraform-101")
    held = holder.has()
    accepted(over.release(over.has(key="over")["sandbox_id"]))
    with system.metrics.moves(counted("exhausted", 3) | counted("replay", 2) | counted("ended", 2)), unchanged():
        for _ in range(2):  # as the pool was found empty, and as it is known to be
            answer = new.allocate()
            problem = refused(answer, 409, "no_sandboxes_available")
            assert answer.headers["retry-after"] == "30"
            assert accepted(holder.allocate()) == held
            refused(over.allocate(key="over"), 410, "allocation_ended")
            line = system.logs.expect(answer, "sandboxes.exhausted", track_id=new.track_id)
            assert (line["level"], line["track_name"]) == ("INFO", "terraform-101")
            assert problem["title"] == "No sandbox is available"
        refused(over.allocate(), 409, "no_sandboxes_available")
    revoked = api_keys.create(system, role="track")
    api_keys.revoke(system, revoked.name)
    for wrong in (UNKNOWN, revoked, api_keys.create(system, ["fleet"], role="track")):
        refused(Student(system, wrong.secret, holder.track_id).allocate(), 401, "token_invalid")
    refused(Student(system, pool.admin_key, holder.track_id).allocate(), 403, "track_required")
    [free] = pool.seed()
    assert new.has()["sandbox_id"] == free


@case("allocate/004", "allocateSandbox 410", "allocateSandbox 201")
@pytest.mark.parametrize("how", ["released", "expired", "revoked", "past its grace"])
def test_a_key_of_an_allocation_that_is_over(how: str, system: System, pool: Pool, unchanged: Unchanged) -> None:
    """An Idempotency-Key whose allocation is over is 410 and never a second sandbox; another key is (api)."""
    pool.seed(2)
    somebody = pool.student()
    given = somebody.has(key="once")["sandbox_id"]
    if how == "past its grace":
        pool.age(given, 4 * HOUR + 1_801)
    else:
        pool.end(given, how)
    with system.metrics.moves(counted("ended")), unchanged():
        refused(somebody.allocate(key="once"), 410, "allocation_ended")
    assert somebody.has(key="twice")["sandbox_id"] != given
    refused(somebody.allocate(key="once"), 410, "allocation_ended")


@case("allocate/005", "allocateSandbox 201", "allocateSandbox 200")
def test_an_idempotency_key_belongs_to_its_track(system: System, pool: Pool) -> None:
    """Two tracks that send one Idempotency-Key get two sandboxes, and each its own again (003: idempotency key)."""
    pool.seed(2)
    one, other = pool.student(), pool.student()
    given = [each.has(key="shared")["sandbox_id"] for each in (one, other)]
    assert len(set(given)) == 2
    assert [accepted(each.allocate(key="shared"))["sandbox_id"] for each in (one, other)] == given
    stored = "select count(*) from allocations where track_id = any(%s) and idempotency_key = 'shared'"
    assert system.db.value(stored, [one.track_id, other.track_id]) == 2
    for sandbox_id in given:
        pool.end(sandbox_id, "released")
    pool.seed()
    pool.student().has(key="shared")


@case("allocate/006", "allocateSandbox 201")
def test_a_key_that_made_nothing_is_not_remembered(pool: Pool) -> None:
    """An Idempotency-Key that was answered by a replay or a 409 is good for a later allocation (api)."""
    pool.seed()
    somebody, late = pool.student(), pool.student()
    given = somebody.has()
    accepted(somebody.allocate(key="replayed"))
    refused(late.allocate(key="refused"), 409, "no_sandboxes_available")
    accepted(somebody.release(given["sandbox_id"]))
    pool.seed(2)
    somebody.has(key="replayed")
    late.has(key="refused")


@case("allocate/007", "allocateSandbox 201", "allocateSandbox 200")
def test_which_header_names_the_student(raw: Raw, pool: Pool) -> None:
    """X-Instruqt-Sandbox-ID names the student before X-Track-ID does; a blank one does not (003: same X-Track-ID)."""
    pool.seed(3)
    somebody, both, other = pool.student(), pool.student(), pool.student()

    def ask(*headers: tuple[str, str]) -> Answer:
        return raw("POST /v1/allocate", somebody.authorization, *headers)

    first = accepted(ask(("X-Instruqt-Sandbox-ID", both.track_id), ("X-Track-ID", other.track_id)), 201)
    assert accepted(both.allocate()) == first
    assert pool.ledger(first["sandbox_id"])["track_id"] == both.track_id
    blank = ask(("X-Instruqt-Sandbox-ID", "  "), ("X-Track-ID", f"  {other.track_id} "), ("Idempotency-Key", ""))
    second = accepted(blank, 201)
    assert accepted(other.allocate()) == second
    assert first["sandbox_id"] != second["sandbox_id"]
    row = pool.ledger(second["sandbox_id"])
    assert (row["track_name"], row["idempotency_key"]) == (None, None)
    longest = "~" * 255
    given = accepted(ask(("x-track-id", longest), ("X-INSTRUQT-TRACK-ID", longest), ("idempotency-key", longest)), 201)
    assert given["track_name"] == longest
    row = pool.ledger(given["sandbox_id"])
    assert (row["track_id"], row["idempotency_key"]) == (longest, longest)


BAD = {
    "3 KB": "t" * 3_000,
    "256 bytes": "t" * 256,
    "UTF-8": "straße".encode().decode("latin-1"),
    "Latin-1": "caf\xe9",
    "a tab": "a\tb",
}


@case("allocate/008", "allocateSandbox 400")
@pytest.mark.parametrize("what", [*BAD, "two", "two of the same"])
def test_headers_that_are_not_valid(what: str, raw: Raw, system: System, pool: Pool, unchanged: Unchanged) -> None:
    """A header of the track that is doubled, too long or no printable ASCII is 400 with its code (003: X-Track-ID)."""
    pool.seed()
    somebody = pool.student()
    values = {"two": ["one", "another"], "two of the same": ["one", "one"]}.get(what) or [BAD[what]]
    codes = {
        "X-Instruqt-Sandbox-ID": "track_id_invalid",
        "X-Track-ID": "track_id_invalid",
        "X-Instruqt-Track-ID": "track_name_invalid",
        "Idempotency-Key": "idempotency_key_invalid",
    }
    with unchanged():
        for name, code in codes.items():
            named = [] if code == "track_id_invalid" else [("X-Track-ID", somebody.track_id)]
            answer = raw("POST /v1/allocate", somebody.authorization, *named, *((name, value) for value in values))
            refused(answer, 400, code)
            assert system.logs.expect(answer, "http.request")["status"] == 400


@case("allocate/009", "* 400")
def test_a_request_that_names_no_track(raw: Raw, pool: Pool, unchanged: Unchanged) -> None:
    """Each operation of a track needs to be told which: else 400 track_id_missing (003: requires X-Track-ID)."""
    pool.seed()
    key = pool.student().authorization
    with unchanged():
        for line in (
            "POST /v1/allocate",
            "GET /v1/allocations/current",
            "GET /v1/sandboxes/sb-1",
            "POST /v1/sandboxes/sb-1/mark-for-deletion",
            "POST /v1/sandboxes/sb-1/extend",
        ):
            refused(raw(line, key), 400, "track_id_missing")
            refused(raw(line, key, ("X-Track-ID", " "), ("X-Instruqt-Sandbox-ID", "")), 400, "track_id_missing")


@case("allocate/010", "allocateSandbox 201", "extendSandbox 200", "releaseSandbox 200")
@pytest.mark.parametrize("body", [b'{"sandbox_id": "mine"}', b"{", b"\xff\x00", b"a=b"], ids=repr)
def test_a_body_is_ignored(body: bytes, pool: Pool) -> None:
    """A track's requests have no body, and one that comes along is not looked at."""
    pool.seed()
    somebody = pool.student()
    given = accepted(somebody.allocate(content=body), 201)["sandbox_id"]
    accepted(somebody.call("POST", f"/v1/sandboxes/{given}/extend", content=body))
    accepted(somebody.call("POST", f"/v1/sandboxes/{given}/mark-for-deletion", content=body))


@case("allocate/011", "allocateSandbox 201", "allocateSandbox 200")
def test_an_allocation_that_has_run_out(system: System, pool: Pool) -> None:
    """Within its grace a track gets its sandbox again; past it another, and the old one is deleted (003: expiry)."""
    pool.seed(2)
    somebody = pool.student(lab="docker-intro")
    given = somebody.has()["sandbox_id"]
    pool.age(given, 4 * HOUR + 1_770)
    replayed = accepted(somebody.allocate())
    assert replayed["sandbox_id"] == given
    assert replayed["expires_at"] < system.db.value("select extract(epoch from now())")
    pool.age(given, 31)
    with system.metrics.moves(counted("new") | {"nexmdm_sandboxes_expired_total": 1}):
        answer = somebody.allocate()
    assert accepted(answer, 201)["sandbox_id"] != given
    named = {"sandbox_id": given, "track_id": somebody.track_id, "track_name": "docker-intro"}
    system.logs.expect(answer, "sandboxes.expired", **named)
    over, old = pool.ledger(given), pool.row(given)
    assert over["end_reason"] == "expired"
    assert over["ended_at"].microsecond == 0
    assert old["status"] == "pending_deletion"
    assert old["next_attempt_at"] is not None


@case("allocate/012", "allocateSandbox 409")
@pytest.mark.parametrize("status", ["allocated", "pending_deletion", "deleting", "deletion_failed", "stale", "deleted"])
def test_only_what_is_available_is_given(status: str, pool: Pool) -> None:
    """A sandbox in any state but available is given to nobody (003: status validation)."""
    [free] = pool.seed()
    pool.put(free, status)
    pool.seed()
    pool.student().has()  # a process that has just given one does not think the pool empty
    somebody = pool.student()
    for _ in range(2):
        refused(somebody.allocate(), 409, "no_sandboxes_available")
    assert pool.status(free) == status


@case("allocate/013", "allocateSandbox 409", "releaseSandbox 200")
def test_a_sandbox_is_given_once_ever(system: System, pool: Pool) -> None:
    """What was given back is given to nobody again, and the database itself refuses to call it free (003: once)."""
    pool.seed()
    somebody, next_one = pool.student(), pool.student()
    given = somebody.has()["sandbox_id"]
    accepted(somebody.release(given))
    refused(next_one.allocate(), 409, "no_sandboxes_available")
    refused(somebody.allocate(), 409, "no_sandboxes_available")
    for status in ("available", "stale"):
        with as_app(system) as app:
            again = f"update sandboxes set status = '{status}', next_attempt_at = null where sandbox_id = '{given}'"
            assert refusal(app, again) == CHECK_VIOLATION
    with as_app(system) as app:
        second = (
            "insert into allocations (sandbox_id, track_id, duration_s, allocated_at, expires_at, grace_until,"
            f" deadline) values ('{given}', 'somebody', 1, now(), now() + '1 h', now() + '1 h', now() + '1 h')"
        )
        assert refusal(app, second) == UNIQUE_VIOLATION


@case("allocate/014", "allocateSandbox 201")
def test_the_pick_is_random(system: System, pool: Pool) -> None:
    """Tracks are given sandboxes from all over the pool, so that they do not all reach for one (003: K candidates)."""
    pool.seed(60)
    keys = "select sandbox_id from sandboxes where status = 'available' order by pick_key"
    ids = [row["sandbox_id"] for row in system.db.rows(keys)]
    given = {student.has()["sandbox_id"] for student in pool.students(10)}
    assert len(given) == 10
    assert given != set(ids[:10])
    assert max(map(ids.index, given)) > 15
    assert min(map(ids.index, given)) < 45


@case("allocate/015", "allocateSandbox 503")
def test_contention_is_not_an_empty_pool(system: System, pool: Pool) -> None:
    """While others hold the last free sandboxes, a new track hears 503, not 409 (003: all conflicted)."""
    free = pool.seed(2)
    somebody = pool.student()
    with (
        unfinished(system, "select from sandboxes where status = 'available' for update"),
        system.metrics.moves(counted("contended")),
    ):
        answer = somebody.allocate()
    refused(answer, 503, "allocation_contended")
    assert answer.headers["retry-after"] == "1"
    assert system.db.rows("select * from allocations where track_id = %s", somebody.track_id) == []
    assert somebody.has()["sandbox_id"] in free


@case("allocate/016", "allocateSandbox 201")
def test_a_conflict_is_passed_over(system: System, pool: Pool) -> None:
    """While others hold some free sandboxes, a track gets one that is free, at once (003: retry on conflict)."""
    free, held = pool.seed(2)
    # Whatever number is drawn, the held one comes first, and the free one from the beginning on.
    pool.write("update sandboxes set pick_key = case sandbox_id when %(held)s then 1 else 0 end", held=held)
    with unfinished(system, "select from sandboxes where sandbox_id = %s for update", held):
        answer = pool.student().allocate()
    assert accepted(answer, 201)["sandbox_id"] == free
    assert answer.elapsed_ms < 1_000


@case("allocate/017", "allocateSandbox 503")
def test_a_lock_that_does_not_end(system: System, pool: Pool) -> None:
    """A track's lock that is held for more than two seconds is 503 with Retry-After, and leaves no row (api)."""
    pool.seed()
    somebody = pool.student()
    with unfinished(system, TRACK_LOCK, somebody.track_id), system.metrics.moves(counted("contended")):
        answer = somebody.allocate()
    refused(answer, 503, "allocation_contended")
    assert 1_900 < answer.elapsed_ms < 4_000
    assert system.db.rows("select * from allocations where track_id = %s", somebody.track_id) == []
    accepted(somebody.allocate(), 201)


@case("allocate/018")
@pytest.mark.parametrize(
    "key,ended",
    [("null", "null, null"), ("idempotency_key", "now(), 'released'")],
    ids=["a second live one", "its key again"],
)
def test_the_database_itself_keeps_a_track_to_one(key: str, ended: str, system: System, pool: Pool) -> None:
    """No statement of the service can give a track two sandboxes, or its key a second allocation (003: once)."""
    pool.seed()
    given = pool.student().has(key="once")["sandbox_id"]
    [free] = pool.seed()
    with as_app(system) as app:
        assert refusal(app, SECOND.format(free=free, key=key, ended=ended, given=given)) == UNIQUE_VIOLATION


@case("allocate/019", "allocateSandbox 403")
def test_an_admins_key_gets_none(system: System, pool: Pool) -> None:
    """A key of another role gets no sandbox, though one is free (003: admin token)."""
    pool.seed(2)
    pool.student().has()  # a process that has just given one does not think the pool empty
    somebody = Student(system, pool.admin_key, pool.student().track_id)
    refused(somebody.allocate(), 403, "track_required")
    assert system.db.value("select count(*) from allocations where track_id = %s", somebody.track_id) == 0
