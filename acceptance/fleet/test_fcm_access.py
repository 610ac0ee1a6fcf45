"""How the service comes to FCM: its service account, its access token, an egress proxy."""

import json
import time
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from acceptance.fleet.dispatches import ended, shown
from acceptance.operations.test_maintenance import GOOD
from acceptance.suite.case import case
from acceptance.system.concurrency import at_once
from acceptance.system.match import accepted
from acceptance.system.system import FreshBackend, Nexmdm, System
from harness.http.recording_proxy import RecordingProxy
from harness.waiting import eventually

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
USABLE = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PUBLIC = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
ELLIPTIC = (
    ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
)
ACCOUNT = {
    "type": "service_account",
    "project_id": "a-project",
    "client_email": "sender@a-project.iam.test",
    "private_key": USABLE,
    "token_uri": "https://oauth2.googleapis.com/token",
}
UNAUTHENTICATED = json.dumps({"error": {"code": 401, "message": "m", "status": "UNAUTHENTICATED"}}).encode()
VARIABLE = "NEXMDM_FIREBASE_SERVICE_ACCOUNT_JSON"


@case("fcm/017", slow="starts 11 commands")
@pytest.mark.parametrize(
    "change,says",
    [
        pytest.param({"private_key": "not a key"}, "private_key", id="not a key"),
        pytest.param({"private_key": USABLE.replace("\n", "\\n")}, "escaped twice", id="newlines escaped twice"),
        pytest.param({"private_key": USABLE[:400]}, "private_key", id="cut short"),
        pytest.param({"private_key": PUBLIC}, "private_key", id="the public half"),
        pytest.param({"private_key": ELLIPTIC}, "RSA", id="elliptic curve"),
        pytest.param({"private_key": ""}, "private_key", id="empty"),
        pytest.param({"private_key": None}, "private_key", id="none"),
        pytest.param({"type": "authorized_user"}, "type", id="another type"),
        pytest.param({"type": None}, "type", id="no type"),
        pytest.param({"token_uri": "oauth2.googleapis.com"}, "token_uri", id="no URL"),
        pytest.param({"project_id": "../another"}, "project_id", id="no project"),
    ],
)
def test_a_service_account_that_cannot_be_used_is_refused(
    change: dict[str, str | None], says: str, nexmdm: Nexmdm
) -> None:
    """A service account that can never sign ends `nexmdm` with exit code 2 and one line that says what is wrong."""
    env = {**GOOD, VARIABLE: json.dumps({**ACCOUNT, **change})}
    code, said = nexmdm(["check-config"], env)
    assert code == 2, said
    [line] = said.splitlines()
    assert line.startswith(f"nexmdm: configuration error: {VARIABLE}: ")
    assert says in line
    assert not any(value in line for value in (USABLE[40:80], "not a key", "authorized_user", "../another"))


@case("fcm/026", slow="starts services that end")
@pytest.mark.parametrize("command", ["serve", "worker", "retention run"])
def test_nothing_starts_with_an_unusable_service_account(command: str, nexmdm: Nexmdm) -> None:
    """`nexmdm serve`, and whatever else needs the settings, ends with the same line that `check-config` gives."""
    env = {**GOOD, VARIABLE: json.dumps({**ACCOUNT, "private_key": "not a key"}), "NEXMDM_PORT": "0"}
    assert nexmdm(command.split(), env) == nexmdm(["check-config"], env)


@case("fcm/018")
def test_a_service_account_that_can_sign_is_accepted(nexmdm: Nexmdm) -> None:
    """A usable service account passes `check-config`, and its key is not shown (api.md: no secret ever)."""
    code, said = nexmdm(["check-config"], {**GOOD, VARIABLE: json.dumps(ACCOUNT)})
    assert code == 0, said
    assert USABLE[40:80] not in said


@case("fcm/019", slow="waits 8 s for tokens to age")
def test_an_access_token_of_seconds_is_renewed_in_time(fresh_backend: FreshBackend) -> None:
    """With access tokens that live 3 s sends go on, and sends at the same time share one renewal."""
    system: System = fresh_backend()
    devices = [system.device() for _ in range(12)]
    system.fcm.reset()
    system.fcm.script_oauth([{"life_s": 3, "delay_s": 0.3, "times": 0}])
    system.fcm.revoke()
    ids = at_once([partial(system.ping, one) for one in devices])
    for request_id in ids:
        eventually(ended(system.api, request_id, "sent"), within_s=10.0)
    asked = system.fcm.token_requests()
    assert len(asked) < len(ids) / 2, "one renewal for all of them, and perhaps some ahead"
    granted = asked[0]["at"]
    eventually(lambda: time.time() > granted + 4, within_s=10.0)
    request_id = system.ping(devices[0])
    eventually(ended(system.api, request_id, "sent"), within_s=5.0)
    assert shown(system.api, request_id)["retries"] == 0, "an expired token was not sent"


@case("fcm/020", slow="waits 20 s for a token to age")
def test_an_access_token_is_renewed_ahead(fresh_backend: FreshBackend) -> None:
    """An access token is renewed 225 s before its end, behind the sends: none of them waits for it."""
    system: System = fresh_backend()
    one, begun = system.device(), len(eventually(system.fcm.token_requests, within_s=10.0, what="a token at the start"))
    system.fcm.script_oauth([{"life_s": 230}, {"delay_s": 7.0}])
    system.running.backend.restart()
    eventually(lambda: len(system.fcm.token_requests()) == begun + 1, within_s=10.0)
    eventually(lambda: time.time() > system.fcm.token_requests()[begun]["at"] + 6, within_s=10.0)
    first = system.fcm.token_requests()[begun]
    request_id = system.ping(one)
    eventually(ended(system.api, request_id, "sent"), within_s=6.0)
    [message] = system.fcm.inbox(one.fcm_token)
    assert message["grant"] == first["grant"], "it is still good"
    assert len(system.fcm.token_requests()) == begun + 2, "renewed ahead"

    def renewed() -> bool:
        eventually(ended(system.api, system.ping(one), "sent"), within_s=6.0)
        return bool(system.fcm.inbox(one.fcm_token)[-1]["grant"] == system.fcm.token_requests()[-1]["grant"])

    eventually(renewed, within_s=20.0)
    assert len(system.fcm.token_requests()) == begun + 2, "once"


@case("fcm/021")
def test_an_access_token_that_fcm_refuses_is_renewed_once(fresh_backend: FreshBackend) -> None:
    """FCM's 401 for an access token that should be good for an hour costs one renewal; the retry succeeds."""
    system: System = fresh_backend()
    devices = [system.device() for _ in range(4)]
    eventually(ended(system.api, system.ping(devices[0]), "sent"), within_s=10.0)
    before = len(system.fcm.token_requests())
    system.fcm.revoke()
    ids = at_once([partial(system.ping, one) for one in devices])
    for request_id in ids:
        eventually(ended(system.api, request_id, "sent"), within_s=10.0)
    assert len(system.fcm.token_requests()) == before + 1
    assert {"UNAUTHENTICATED", "OK"} == {code for one in ids for code in codes(system, one)}


@case("fcm/027", slow="waits 4 s for a late answer")
def test_a_late_refusal_of_an_old_access_token_costs_nothing(fresh_backend: FreshBackend) -> None:
    """FCM's 401 for an access token that has been replaced since leaves the new one alone."""
    system: System = fresh_backend()
    late, other = system.device(), system.device()
    eventually(ended(system.api, system.ping(other), "sent"), within_s=10.0)
    before = len(system.fcm.token_requests())
    refusal = {"status": 401, "body": UNAUTHENTICATED}
    system.fcm.script([{**refusal, "delay_s": 4.0}], token=late.fcm_token)
    system.fcm.script([refusal], token=other.fcm_token)
    ids = [system.ping(late)]
    sending = "select status = 'sending' from fcm_dispatches where request_id = %s"
    eventually(lambda: system.db.value(sending, ids[0]), within_s=5.0)
    ids.append(system.ping(other))
    for request_id in ids:
        eventually(ended(system.api, request_id, "sent"), within_s=15.0)
        assert codes(system, request_id) == ["UNAUTHENTICATED", "OK"]
    assert len(system.fcm.token_requests()) == before + 1


def codes(system: System, request_id: str) -> list[str]:
    """What FCM has answered to each attempt."""
    return [step["fcm_code"] for step in shown(system.api, request_id)["transitions"] if step["http_code"]]


@case("fcm/022")
@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b"[]",
        b"7",
        b"null",
        b"\xff",
        b'{"access_token": 7, "expires_in": 3600}',
        b'{"access_token": "a\\nb", "expires_in": 3600}',
        b'{"access_token": "", "expires_in": 3600}',
        b'{"access_token": "t", "expires_in": "soon"}',
        b'{"access_token": "t", "expires_in": 1e300}',
        b'{"access_token": "t", "expires_in": []}',
    ],
    ids=lambda body: body.decode(errors="replace") or "empty",
)
def test_a_token_endpoint_that_talks_nonsense_is_asked_again(body: bytes, system: System) -> None:
    """A token endpoint that answers 200 with something else costs an attempt on record, never a command."""
    one = system.device()
    eventually(ended(system.api, system.ping(one), "sent"), within_s=10.0)  # there is an access token
    system.fcm.script_oauth([{"status": 200, "body": body}])
    system.fcm.revoke()
    request_id = system.ping(one)
    system.logs.wait("dispatch.retry", dispatch_request_id=request_id, fcm_code="TOKEN_ENDPOINT", http_code=None)
    system.logs.wait("dependency.unavailable", dependency="fcm", level="WARNING")
    eventually(ended(system.api, request_id, "sent"), within_s=10.0)
    assert shown(system.api, request_id)["retries"] == 2, "the 401, and one attempt without a token"


@case("fcm/023")
@pytest.mark.parametrize("through", [True, False], ids=["HTTP_PROXY", "NO_PROXY"])
def test_an_egress_proxy_carries_token_call_and_send(through: bool, fresh_backend: FreshBackend) -> None:
    """Token call and send both go through the environment's proxy, and past it where NO_PROXY says so (guide)."""
    with RecordingProxy() as proxy:
        env = {"HTTP_PROXY": proxy.url} | ({} if through else {"NO_PROXY": "10.0.0.0/8,127.0.0.0/8"})
        system: System = fresh_backend(env=env)
        one = system.device()
        eventually(ended(system.api, system.ping(one), "sent"), within_s=10.0)
        asked = {target.removeprefix(system.fcm.url) for _, target in proxy.requests}
    assert asked == ({"/token", "/v1/projects/nexmdm-test/messages:send"} if through else set())
    accepted(one.heartbeat())


@case("fcm/024", slow="starts four commands")
@pytest.mark.parametrize("value", ["socks5://127.0.0.1:1080", "nowhere:port", "http://:80", "ftp://127.0.0.1:21"])
def test_a_proxy_that_cannot_be_used_is_refused(value: str, nexmdm: Nexmdm) -> None:
    """An egress proxy that the service cannot speak to ends `nexmdm` with exit code 2 and one line that names it."""
    code, said = nexmdm(["check-config"], {**GOOD, VARIABLE: json.dumps(ACCOUNT), "HTTPS_PROXY": value})
    assert code == 2, said
    [line] = said.splitlines()
    assert line.startswith("nexmdm: configuration error: HTTPS_PROXY: ")
    assert value not in line
