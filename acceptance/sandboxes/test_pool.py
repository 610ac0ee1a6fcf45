"""The admin's list of the pool: what it shows, its filters, its pages, and who may read it."""

import json
from datetime import datetime
from typing import Any

import pytest

from acceptance.sandboxes.pool import Pool
from acceptance.suite.case import case
from acceptance.system import api_keys
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.system import FreshBackend, System, Unchanged

LIST = "/v1/admin/sandboxes"
STATUSES = ["available", "allocated", "pending_deletion", "deleting", "deletion_failed", "stale", "deleted"]
# Every operation of this file's admin, about a sandbox that need not be there.
OPERATIONS: dict[str, tuple[str, str, Any]] = {
    "listSandboxes": ("GET", LIST, None),
    "revokeSandbox": ("POST", f"{LIST}/sb-1/revoke", {"reason": "a case"}),
    "retrySandboxDeletion": ("POST", f"{LIST}/sb-1/retry-deletion", None),
    "getSandboxStats": ("GET", "/v1/admin/stats", None),
    "getSandboxUsage": ("GET", "/v1/admin/usage?from=2026-11-01&to=2026-11-02", None),
}


def seconds(moment: datetime | None) -> int | None:
    """A time as answers have it."""
    return None if moment is None else int(moment.timestamp())


def listed(pool: Pool, **filters: str | int) -> list[dict[str, Any]]:
    """The sandboxes of one page."""
    items: list[dict[str, Any]] = accepted(pool.admin("GET", LIST, params=filters))["items"]
    return items


@case("pool/001", "listSandboxes 200")
def test_the_list_shows_what_is_stored(pool: Pool) -> None:
    """The list shows each sandbox with the allocation that it has or had; times are Unix seconds (003: admin)."""
    [gone] = pool.seed()
    pool.put(gone, "stale")
    [given] = pool.seed()
    student = pool.student(lab="aws-networking-101")
    student.has()
    answer = pool.admin("GET", LIST, params={"limit": 2})
    newest, oldest = accepted(answer)["items"]
    for item in (newest, oldest):
        row = pool.row(item["sandbox_id"])
        for name in ("name", "external_id", "status", "delete_attempts", "last_error"):
            assert item[name] == row[name], name
        for name in ("status_since", "created_at", "next_attempt_at"):
            assert item[name] == seconds(row[name]), name
    ledger = pool.ledger(given)
    for name in ("track_id", "track_name", "end_reason", "revoke_reason"):
        assert newest[name] == ledger[name], name
    for name in ("allocated_at", "expires_at", "ended_at"):
        assert newest[name] == seconds(ledger[name]), name
    assert (newest["sandbox_id"], newest["track_id"], newest["track_name"]) == (
        given,
        student.track_id,
        "aws-networking-101",
    )
    assert (oldest["sandbox_id"], oldest["status"], oldest["track_id"], oldest["allocated_at"]) == (
        gone,
        "stale",
        None,
        None,
    )
    pool.system.logs.expect(answer, "http.request", status=200)


@case("pool/002", "listSandboxes 200")
def test_each_filter_shows_what_it_names(pool: Pool) -> None:
    """The list filters by status, track and lab, and by all of them at once (issue 13)."""
    pool.seed(3)
    one, other = pool.student(lab="kubernetes-basics"), pool.student()
    mine, released = one.has()["sandbox_id"], other.has()["sandbox_id"]
    accepted(other.release(released))
    for status in STATUSES:
        shown = {item["status"] for item in listed(pool, status=status)}
        assert shown <= {status}, status
    assert {item["sandbox_id"] for item in listed(pool, status="pending_deletion")} >= {released}
    assert [item["sandbox_id"] for item in listed(pool, track=one.track_id)] == [mine]
    assert [item["sandbox_id"] for item in listed(pool, track=other.track_id)] == [released]
    assert mine in {item["sandbox_id"] for item in listed(pool, track_name="kubernetes-basics")}
    assert {item["track_name"] for item in listed(pool, track_name="kubernetes-basics")} == {"kubernetes-basics"}
    both = {"track": one.track_id, "status": "allocated", "track_name": "kubernetes-basics"}
    assert [item["sandbox_id"] for item in listed(pool, **both)] == [mine]
    assert listed(pool, **(both | {"status": "pending_deletion"})) == []
    assert listed(pool, track="nobody") == listed(pool, track_name="no lab") == []


@case("pool/003", "listSandboxes 200")
def test_pages_are_complete_and_stable_under_inserts(pool: Pool) -> None:
    """Each sandbox is on one page, newest first, also those of one moment, while new ones come (003: admin)."""
    ids = pool.seed(5)
    pool.write("update sandboxes set created_at = now() where sandbox_id = any(%(ids)s)", ids=ids[1:4])
    rows = "select sandbox_id from sandboxes where status = 'available' order by created_at desc, sandbox_id desc"
    wanted = [row["sandbox_id"] for row in pool.system.db.rows(rows)]
    read: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = accepted(pool.admin("GET", LIST, params={"status": "available", "limit": 2, **cursor}))
        read += [item["sandbox_id"] for item in page["items"]]
        cursor = {"cursor": page["next_cursor"] or ""}
        pool.seed()  # newer than what was read: it must neither show up on a later page nor shift one
    assert read == wanted
    assert cursor == {"cursor": ""}, "the end has no next_cursor"


@case("pool/004", "listSandboxes 422")
@pytest.mark.parametrize(
    "query,pointer",
    [
        ("status=gone", "/query/status"),
        ("status=Available", "/query/status"),
        ("status=", "/query/status"),
        ("status=stale&status=deleted", "/query/status"),
        ("track=a&track=a", "/query/track"),
        ("track=", "/query/track"),
        ("track=%00", "/query/track"),
        ("track=caf%C3%A9", "/query/track"),
        ("track=%ff", "/query/track"),
        ("track=" + "t" * 256, "/query/track"),
        ("track_name=a%0Ab", "/query/track_name"),
        ("track_name=" + "t" * 3_000, "/query/track_name"),
        ("limit=0", "/query/limit"),
        ("limit=201", "/query/limit"),
        ("limit=1&limit=1", "/query/limit"),
        ("cursor=", "/query/cursor"),
        ("cursor=AAAA", "/query/cursor"),
        ("cursor=not%20base64!", "/query/cursor"),
        ("cursor=" + "A" * 201, "/query/cursor"),
        ("cursor=AAAA&cursor=AAAA", "/query/cursor"),
    ],
    ids=lambda value: value[:24],
)
def test_a_list_that_cannot_be_is_refused(query: str, pointer: str, pool: Pool, unchanged: Unchanged) -> None:
    """An unknown value, a repeated parameter and a cursor that is none are each a 422 that names it (issue 13)."""
    with unchanged():
        answer = pool.admin("GET", f"{LIST}?{query}")
    assert pointers(refused(answer, 422, "validation_error")) == {pointer}
    pool.system.logs.expect(answer, "http.request", status=422)


@case("pool/005", "listSandboxes 422", "listDevices 422")
def test_a_cursor_is_good_for_its_list_alone(pool: Pool, system: System, unchanged: Unchanged) -> None:
    """A cursor of the devices' list is none of the pool's, and the other way round (issue 13)."""
    pool.seed(2)
    for _ in range(2):
        system.device()
    mine = accepted(pool.admin("GET", LIST, params={"limit": 1}))["next_cursor"]
    devices = accepted(pool.admin("GET", "/v1/devices", params={"limit": 1}))["next_cursor"]
    accepted(pool.admin("GET", LIST, params={"cursor": mine, "limit": 1}))
    with unchanged():
        for path, cursor in ((LIST, devices), ("/v1/devices", mine)):
            answer = pool.admin("GET", path, params={"cursor": cursor})
            assert pointers(refused(answer, 422, "validation_error")) == {"/query/cursor"}


@case("pool/006", "* 401", "* 403")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_only_a_key_of_an_admin_opens_the_pool(
    operation: str, pool: Pool, system: System, unchanged: Unchanged
) -> None:
    """No key and a wrong key are 401, a track's key 403 admin_required, whatever else is wrong (003: admin auth)."""
    method, path, body = OPERATIONS[operation]
    elsewhere, over = api_keys.create(system, ["fleet"]), api_keys.create(system)
    api_keys.revoke(system, over.name)
    cells: dict[str, tuple[int, str]] = {
        "": (401, "token_missing"),
        "Basic YTpi": (401, "token_invalid"),
        f"Bearer nxk_{'A' * 43}": (401, "token_invalid"),
        f"Bearer {pool.admin_key}A": (401, "token_invalid"),
        f"Bearer {elsewhere.secret}": (401, "token_invalid"),
        f"Bearer {over.secret}": (401, "token_invalid"),
        f"Bearer {pool.track_key}": (403, "admin_required"),
    }
    with unchanged():
        for credential, (status, code) in cells.items():
            headers = {"Authorization": credential} if credential else {}
            for content in (None if body is None else json.dumps(body).encode(), b"{"):
                answer = system.api.request(method, path, headers=headers, content=content)
                refused(answer, status, code)
                line = system.logs.expect(answer, "sec.auth.fail", code=code, level="WARNING")
                assert "subject" not in line
        answer = system.api.admin(method, path, json=body)
        refused(answer, 401, "token_missing")


@case("pool/007", "* 200")
def test_each_line_of_an_admins_request_names_the_key(pool: Pool, system: System) -> None:
    """Log lines of the pool's admin carry `key:<name>`, and never the key (issue 12)."""
    [given] = pool.seed()
    key = api_keys.create(system)
    student = pool.student()
    assert student.has()["sandbox_id"] == given
    answers = []
    for method, path, body in OPERATIONS.values():
        about = path.replace("sb-1", given)
        if "retry-deletion" in path:
            pool.put(given, "deletion_failed")
        answers.append(system.api.bearer(key.secret, method, about, json=body))
    for answer in answers:
        accepted(answer)
        system.logs.expect(answer, "http.request")  # the last of its lines
        lines = [line for line in system.logs.since() if line["request_id"] == answer.request_id]
        assert {line.get("subject") for line in lines} == {f"key:{key.name}"}, lines
    events = {line["event"] for line in system.logs.since() if line.get("subject") == f"key:{key.name}"}
    assert events == {"http.request", "db_operation", "sandboxes.revoked", "sandboxes.deletion_retried"}


@case("pool/008", "* 429")
def test_the_pools_admin_has_a_limit(fresh_backend: FreshBackend) -> None:
    """Beyond the admin's limit each operation of the pool is a 429 with Retry-After and changes nothing (api.md)."""
    system: System = fresh_backend(env={"NEXMDM_LIMIT_ADMIN": "2/3600"})
    pool = Pool(system)
    for _ in range(2):
        accepted(pool.admin("GET", LIST))
    with system.unchanged():
        for method, path, body in OPERATIONS.values():
            answer = pool.admin(method, path, json=body)
            refused(answer, 429, "rate_limited")
            system.logs.expect(answer, "sec.token.ratelimit", rule="admin")
