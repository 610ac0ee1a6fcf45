"""POST, GET and DELETE /v1/enroll-tokens. What a token opens is in test_register.py and test_apk.py."""

import hashlib
import re
from collections import Counter
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.metrics import Metrics
from acceptance.system.system import FreshBackend, System, Tokens, Unchanged, new_alias
from acceptance.system.web_workers import race
from harness.waiting import eventually


@case("tokens/001", "createEnrollTokens 200")
def test_a_batch_of_tokens_is_issued(api: Api, logs: Logs, db: Database, metrics: Metrics) -> None:
    """A batch answers one token per alias in order; only SHA-256 hashes are stored (000 A: 200 create; B: 45 min)."""
    aliases = [new_alias() for _ in range(3)]
    with metrics.moves({"nexmdm_enroll_tokens_issued_total": 3}):
        answer = api.admin("POST", "/v1/enroll-tokens", json={"aliases": aliases, "note": "ground floor"})
    issued = accepted(answer)["tokens"]
    ids = {"token_ids": [token["token_id"] for token in issued]}
    logs.expect(answer, "db_operation", operation="create", entity="enrollment_tokens", keys=ids)
    assert [token["alias"] for token in issued] == aliases
    assert len({token["token"] for token in issued}) == 3
    for token in issued:
        assert re.fullmatch("nxe_[A-Za-z0-9_-]{43}", token["token"])
        assert (token["scope"], token["uses_allowed"]) == ("register", 1)
        row = db.row("select * from enrollment_tokens where token_id = %s", token["token_id"])
        assert row["token_hash"] == hashlib.sha256(token["token"].encode()).hexdigest()
        assert (row["alias"], row["scope"], row["uses_consumed"], row["note"]) == (
            token["alias"],
            "register",
            0,
            "ground floor",
        )
        assert (row["expires_at"] - row["created_at"]).total_seconds() == 2700
        assert datetime.fromisoformat(token["expires_at"]) == row["expires_at"]
        logs.expect(answer, "sec.token.create", token_id=token["token_id"], alias=token["alias"], scope="register")


@case("tokens/002", "listEnrollTokens 200")
def test_the_list_shows_each_status_and_never_a_token(api: Api, tokens: Tokens, logs: Logs, db: Database) -> None:
    """The list filters by active, expired, revoked and exhausted, and shows no token (000 A: 200 list)."""
    alias = new_alias()
    expired, active, revoked, exhausted = (
        tokens(aliases=[alias], **extra)[0] for extra in ({"expires_in_s": 1}, {}, {}, {})
    )
    accepted(api.admin("DELETE", f"/v1/enroll-tokens/{revoked['token_id']}"))
    accepted(api.bearer(exhausted["token"], "POST", "/v1/register", json={"agent_version": "1.4.2"}))
    eventually(
        lambda: db.value("select expires_at < now() from enrollment_tokens where token_id = %s", expired["token_id"]),
        within_s=3.0,
    )
    for status, token in {"active": active, "expired": expired, "revoked": revoked, "exhausted": exhausted}.items():
        answer = api.admin("GET", "/v1/enroll-tokens", params={"alias": alias, "status": status})
        [item] = accepted(answer)["items"]
        assert (item["token_id"], item["status"]) == (token["token_id"], status)
        logs.expect(answer, "http.request", status=200)
    everything = api.admin("GET", "/v1/enroll-tokens", params={"alias": alias})
    assert [item["token_id"] for item in accepted(everything)["items"]] == [
        token["token_id"] for token in (exhausted, revoked, active, expired)
    ], "newest first"
    assert b"nxe_" not in everything.body
    assert b"token_hash" not in everything.body


@case("tokens/003", "revokeEnrollToken 200")
def test_a_revoked_token_is_dead(api: Api, tokens: Tokens, logs: Logs, db: Database) -> None:
    """Revoking makes the status revoked and every later use a 401; again is a 200 with a note (000 A: 200 delete)."""
    [token] = tokens()
    answer = api.admin("DELETE", f"/v1/enroll-tokens/{token['token_id']}")
    first = accepted(answer)
    assert (first["token_id"], first["status"], first["note"]) == (token["token_id"], "revoked", None)
    logs.expect(answer, "sec.token.revoke", token_id=token["token_id"], alias=token["alias"])
    logs.expect(answer, "db_operation", operation="update", entity="enrollment_tokens")
    refused(api.bearer(token["token"], "POST", "/v1/register", json={"agent_version": "1"}), 401, "token_revoked")
    again = api.admin("DELETE", f"/v1/enroll-tokens/{token['token_id']}")
    assert accepted(again) == {**first, "note": "already revoked"}
    assert not logs.of(again, "sec.token.revoke")
    assert db.value("select revoked_at is not null from enrollment_tokens where token_id = %s", token["token_id"])


@case("tokens/004", "revokeEnrollToken 409")
@pytest.mark.parametrize("state", ["expired", "exhausted"])
def test_a_token_that_has_ended_cannot_be_revoked(
    state: str, api: Api, tokens: Tokens, logs: Logs, db: Database, unchanged: Unchanged
) -> None:
    """Revoking an exhausted or expired token is a 409 token_not_active and changes nothing (000 A: 409)."""
    [token] = tokens(**({"expires_in_s": 1} if state == "expired" else {}))
    if state == "exhausted":
        accepted(api.bearer(token["token"], "POST", "/v1/register", json={"agent_version": "1.4.2"}))
    else:
        eventually(
            lambda: db.value("select expires_at < now() from enrollment_tokens where token_id = %s", token["token_id"]),
            within_s=3.0,
        )
    with unchanged():
        answer = api.admin("DELETE", f"/v1/enroll-tokens/{token['token_id']}")
    refused(answer, 409, "token_not_active")
    assert not logs.of(answer, "sec.token.revoke")


@case("tokens/005", "revokeEnrollToken 404", "revokeEnrollToken 422")
@pytest.mark.parametrize(
    "token_id,status,code",
    [("01890000-0000-7000-8000-000000000000", 404, "token_not_found"), ("17", 422, "validation_error")],
)
def test_an_unknown_token_cannot_be_revoked(
    token_id: str, status: int, code: str, api: Api, logs: Logs, unchanged: Unchanged
) -> None:
    """An unknown token_id is a 404, and what is no id a 422 (000 A: 404)."""
    with unchanged():
        answer = api.admin("DELETE", f"/v1/enroll-tokens/{token_id}")
    refused(answer, status, code)
    logs.expect(answer, "http.request", status=status)


@case("tokens/006", "createEnrollTokens 422")
@pytest.mark.parametrize(
    "change,pointer",
    [
        ({"aliases": []}, "/body/aliases"),
        ({"aliases": ["A", "A"]}, "/body/aliases"),
        ({"aliases": [f"A{n}" for n in range(101)]}, "/body/aliases"),
        ({"aliases": ["fine", "not fine"]}, "/body/aliases/1"),
        ({"aliases": "A"}, "/body/aliases"),
        ({"expires_in_s": 0}, "/body/expires_in_s"),
        ({"expires_in_s": 604801}, "/body/expires_in_s"),
        ({"uses_allowed": 0}, "/body/uses_allowed"),
        ({"uses_allowed": 1.5}, "/body/uses_allowed"),
        ({"scope": "admin"}, "/body/scope"),
        ({"note": "x" * 501}, "/body/note"),
        ({"note": "a\x00b"}, "/body/note"),
        ({"ttl": 60}, "/body"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_batch_that_breaks_the_schema_issues_nothing(
    change: dict[str, Any], pointer: str, api: Api, logs: Logs, unchanged: Unchanged
) -> None:
    """Every schema violation is a 422 that points at the fault; a batch is all or nothing (000 A: 422; api.md)."""
    with unchanged():
        answer = api.admin("POST", "/v1/enroll-tokens", json={"aliases": [new_alias()], **change})
    assert pointers(refused(answer, 422, "validation_error")) == {pointer}
    assert not logs.of(answer, "sec.token.create")


@case("tokens/007", "createEnrollTokens 429")
def test_issuing_tokens_is_limited_per_admin(fresh_backend: FreshBackend) -> None:
    """Of 40 simultaneous issues at a limit of 10 exactly 10 pass, over two workers; the others are 429 (000 A: 429)."""
    system: System = fresh_backend(workers=2, env={"NEXMDM_LIMIT_TOKEN_CREATE": "10/3600"})
    with system.metrics.moves(
        {'nexmdm_rate_limited_total{rule="token_create"}': 30, "nexmdm_enroll_tokens_issued_total": 10}
    ):
        issue = partial(system.api.admin, "POST", "/v1/enroll-tokens")
        answers = race(system, [partial(issue, json={"aliases": [new_alias()]}) for _ in range(40)])
    assert Counter(answer.status for answer in answers) == {200: 10, 429: 30}
    assert system.db.value("select count(*) from enrollment_tokens") == 10
    with system.unchanged():
        answer = system.api.admin("POST", "/v1/enroll-tokens", json={"aliases": ["A1"]})
    refused(answer, 429, "rate_limited")
    system.logs.expect(answer, "sec.token.ratelimit", rule="token_create")
    accepted(system.api.admin("GET", "/v1/enroll-tokens"))
