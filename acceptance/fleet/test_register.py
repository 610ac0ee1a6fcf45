"""POST /v1/register: a device trades an enrolment token for its identity. Races on one token are in test_races.py."""

import re
import uuid

import pytest

from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.metrics import Metrics
from acceptance.system.system import FreshBackend, NewDevice, System, Tokens, Unchanged
from harness.waiting import eventually

FACTS = {
    "agent_version": "1.4.2",
    "fcm_token": "fcm-token:0123456789abcdef",
    "manufacturer": "Samsung",
    "model": "SM-A546B",
    "serial": "R58N123ABC",
    "android_version": "14",
    "sdk_int": 34,
}


@case("register/001", "registerDevice 200")
def test_a_valid_token_makes_a_device(api: Api, tokens: Tokens, logs: Logs, db: Database, metrics: Metrics) -> None:
    """A valid enrolment token makes a device: a token shown once, bcrypt at rest, one use consumed (000 A: 200)."""
    [token] = tokens()
    with metrics.moves({"nexmdm_registrations_total": 1}):
        answer = api.bearer(token["token"], "POST", "/v1/register", json={"alias": token["alias"], **FACTS})
    body = accepted(answer)
    device_id = body["device_id"]
    assert uuid.UUID(device_id).version == 7
    assert re.fullmatch(f"nxd_{uuid.UUID(device_id).hex}_[A-Za-z0-9_-]{{54}}", body["device_token"])
    row = db.row("select * from devices where device_id = %s", device_id)
    assert row["token_hash"].startswith("$2b$")
    assert body["device_token"][-43:] not in str(row)
    assert {name: row[name] for name in FACTS} == FACTS
    assert (row["alias"], row["token_version"], row["retired_at"]) == (token["alias"], 1, None)
    used = db.row("select * from enrollment_tokens where token_id = %s", token["token_id"])
    assert used["uses_consumed"] == 1
    assert used["last_used_at"] is not None
    named = {"device_id": device_id, "alias": token["alias"], "token_id": token["token_id"]}
    logs.expect(answer, "register.success", **named, reenrolled=False)
    logs.expect(answer, "sec.token.consume", **named)
    assert logs.expect(answer, "db_operation", operation="create", entity="devices")["keys"]["device_id"] == device_id


@case("register/002", "registerDevice 200")
def test_a_fresh_token_for_a_known_alias_enrols_the_same_device_again(
    device: NewDevice, logs: Logs, db: Database
) -> None:
    """A known alias with a fresh token keeps its device_id and gets a new token; the old one is dead (api.md)."""
    first = device()
    again = device(first.alias)
    assert again.device_id == first.device_id
    assert again.token != first.token
    logs.expect(again.answer, "register.success", device_id=first.device_id, alias=first.alias, reenrolled=True)
    refused(first.heartbeat(), 401, "token_invalid")
    refused(first.heartbeat(), 401, "token_invalid")  # not from memory this time: nobody remembers it any more
    accepted(again.heartbeat())
    assert db.value("select token_version from devices where alias = %s", first.alias) == 2


@case("register/003", "registerDevice 401")
@pytest.mark.parametrize("state", ["expired", "revoked", "exhausted"])
def test_a_token_that_is_no_longer_active_is_refused(
    state: str, api: Api, tokens: Tokens, logs: Logs, metrics: Metrics, unchanged: Unchanged, db: Database
) -> None:
    """An expired, revoked or used-up enrolment token is refused with 401 and its own code (000 A: 401)."""
    [token] = tokens(**({"expires_in_s": 1} if state == "expired" else {}))
    if state == "revoked":
        accepted(api.admin("DELETE", f"/v1/enroll-tokens/{token['token_id']}"))
    elif state == "exhausted":
        accepted(api.bearer(token["token"], "POST", "/v1/register", json=FACTS))
    else:
        eventually(
            lambda: db.value("select expires_at < now() from enrollment_tokens where token_id = %s", token["token_id"]),
            within_s=3.0,
        )
    with unchanged(), metrics.moves({f'nexmdm_auth_failures_total{{code="token_{state}"}}': 1}):
        answer = api.bearer(token["token"], "POST", "/v1/register", json=FACTS)
    refused(answer, 401, f"token_{state}")
    logs.expect(answer, "register.fail", code=f"token_{state}")
    logs.expect(answer, "sec.auth.fail", code=f"token_{state}")
    if state == "expired":
        logs.expect(answer, "sec.token.expired", token_id=token["token_id"], alias=token["alias"])


@case("register/004", "registerDevice 401")
@pytest.mark.parametrize(
    "authorization,code",
    [
        pytest.param([], "token_missing", id="no header"),
        pytest.param(["Basic YWRtaW46YWRtaW4="], "token_invalid", id="another scheme"),
        pytest.param(["Bearer"], "token_invalid", id="no token"),
        pytest.param(["Bearer nxe_short"], "token_invalid", id="malformed"),
        pytest.param(["Bearer nxe_" + "A" * 43], "token_invalid", id="unknown"),
        pytest.param(["Bearer nxd_" + "0" * 32 + "_" + "A" * 54], "token_invalid", id="a device token"),
        pytest.param(["Bearer {token}", "Bearer {token}"], "token_invalid", id="two headers"),
    ],
)
def test_a_missing_or_wrong_token_is_refused(
    authorization: list[str], code: str, api: Api, tokens: Tokens, logs: Logs, metrics: Metrics, unchanged: Unchanged
) -> None:
    """Without exactly one well-formed, known enrolment token there is no registration (000 A: 401; api.md)."""
    [token] = tokens()
    headers = [("Authorization", value.format(token=token["token"])) for value in authorization]
    with unchanged(), metrics.moves({f'nexmdm_auth_failures_total{{code="{code}"}}': 1}):
        answer = api.request("POST", "/v1/register", headers=headers, json=FACTS)
    refused(answer, 401, code)
    logs.expect(answer, "register.fail", code=code)
    logs.expect(answer, "sec.auth.fail", code=code)


@case("register/005", "registerDevice 403")
def test_a_download_token_cannot_register(api: Api, tokens: Tokens, logs: Logs, unchanged: Unchanged) -> None:
    """A token of scope apk_download is refused with 403 insufficient_scope and stays unused (seed 002: scope)."""
    [token] = tokens(scope="apk_download")
    with unchanged():
        answer = api.bearer(token["token"], "POST", "/v1/register", json=FACTS)
    refused(answer, 403, "insufficient_scope")
    logs.expect(answer, "register.fail", code="insufficient_scope")


@case("register/006", "registerDevice 409")
def test_another_alias_than_the_token_s_is_refused(api: Api, tokens: Tokens, logs: Logs, unchanged: Unchanged) -> None:
    """An alias that is not the token's is a 409 and consumes no use: the token still works afterwards (api.md)."""
    [token] = tokens()
    with unchanged():
        answer = api.bearer(token["token"], "POST", "/v1/register", json={**FACTS, "alias": "somebody-else"})
    refused(answer, 409, "alias_mismatch")
    logs.expect(answer, "register.fail", code="alias_mismatch")
    accepted(api.bearer(token["token"], "POST", "/v1/register", json=FACTS))


@case("register/007", "registerDevice 422")
@pytest.mark.parametrize(
    "change,pointer",
    [
        ({"agent_version": None}, "/body/agent_version"),
        ({"agent_version": ""}, "/body/agent_version"),
        ({"agent_version": "x" * 65}, "/body/agent_version"),
        ({"alias": "bad alias"}, "/body/alias"),
        ({"fcm_token": "too-short"}, "/body/fcm_token"),
        ({"sdk_int": 0}, "/body/sdk_int"),
        ({"sdk_int": "34"}, "/body/sdk_int"),
        ({"sdk_int": True}, "/body/sdk_int"),
        ({"model": "a\x00b"}, "/body/model"),
        ({"serial": None}, "/body/serial"),
        ({"root": True}, "/body"),
    ],
    ids=str,
)
def test_a_body_that_breaks_the_schema_is_refused(
    change: dict[str, object], pointer: str, api: Api, tokens: Tokens, logs: Logs, unchanged: Unchanged
) -> None:
    """Every schema violation is a 422 that points at the member, and consumes no use (000 A: 422)."""
    [token] = tokens()
    with unchanged():
        answer = api.bearer(token["token"], "POST", "/v1/register", json={**FACTS, **change})
    assert pointers(refused(answer, 422, "validation_error")) == {pointer}
    logs.expect(answer, "register.fail", code="validation_error")


@case("register/008", "registerDevice 200", "registerDevice 401")
def test_a_token_of_several_uses_counts_down(
    api: Api, tokens: Tokens, logs: Logs, db: Database, unchanged: Unchanged
) -> None:
    """A token of two uses registers twice and is then exhausted (seed 000: reuse; api.md)."""
    [token] = tokens(uses_allowed=2)
    ids = {accepted(api.bearer(token["token"], "POST", "/v1/register", json=FACTS))["device_id"] for _ in range(2)}
    assert len(ids) == 1, "one alias is one device"
    with unchanged():
        answer = api.bearer(token["token"], "POST", "/v1/register", json=FACTS)
    refused(answer, 401, "token_exhausted")
    logs.expect(answer, "register.fail", code="token_exhausted")
    assert db.value("select uses_consumed from enrollment_tokens where token_id = %s", token["token_id"]) == 2


@case("register/009", "registerDevice 422")
def test_a_refused_registration_names_its_token(
    api: Api, tokens: Tokens, logs: Logs, metrics: Metrics, unchanged: Unchanged
) -> None:
    """The log and a metric say with which token a registration was refused, and for which member (issue 11)."""
    [token] = tokens()
    refusals = 'nexmdm_device_bodies_refused_total{route="/v1/register",pointer="/body/sdk_int"}'
    with unchanged(), metrics.moves({refusals: 1}):
        answer = api.bearer(token["token"], "POST", "/v1/register", json={**FACTS, "sdk_int": 47110})
    refused(answer, 422, "validation_error")
    line = logs.expect(answer, "device.body_refused", token_id=token["token_id"], device_id=None)
    assert (line["code"], line["pointers"]) == ("validation_error", ["/body/sdk_int"])
    assert "47110" not in str(line)


@case("register/010", "registerDevice 200")
def test_a_token_is_hashed_at_the_cost_that_is_set(fresh_backend: FreshBackend) -> None:
    """A device token is hashed at NEXMDM_BCRYPT_COST (seed 001: bcrypt)."""
    system: System = fresh_backend(env={"NEXMDM_BCRYPT_COST": "11"})
    device = system.device()
    assert system.db.value("select token_hash from devices where device_id = %s", device.device_id)[:7] == "$2b$11$"
