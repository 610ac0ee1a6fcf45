"""The control loop as a caller sees it, over HTTP alone: what can be proven of a deployment that shows nothing else.

Does not look at rows, logs or FCM; every other file does.
"""

from acceptance.fleet.apks import new_package, upload
from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.match import accepted, refused
from acceptance.system.system import NewDevice, System, Tokens
from harness.devices.apk import apk


@case("loop/001")
def test_a_device_goes_round_the_whole_loop(system: System, api: Api, device: NewDevice) -> None:
    """Token, registration, heartbeat, command, result and retirement work together over HTTP (001: control loop)."""
    one = device()
    assert accepted(one.heartbeat(status="warn"))["ok"] is True
    assert accepted(api.admin("GET", f"/v1/devices/{one.device_id}"))["last_status"] == "warn"
    request_id = system.ping(one)
    assert accepted(api.admin("GET", f"/admin/dispatches/{request_id}"))["device_id"] == one.device_id
    first = accepted(one.complete(request_id, "ok", message="pong"))
    assert accepted(one.complete(request_id)) == {**first, "replayed": True}
    shown = accepted(api.admin("GET", f"/admin/dispatches/{request_id}"))
    assert (shown["status"], shown["outcome"], shown["message"]) == ("completed", "ok", "pong")
    assert accepted(api.admin("DELETE", f"/v1/devices/{one.device_id}"))["status"] == "retired"
    refused(one.heartbeat(), 401, "token_invalid")


@case("loop/002")
def test_a_build_goes_from_ci_to_a_device(api: Api, tokens: Tokens) -> None:
    """What CI uploads is what an enrolment token downloads, until the token is revoked (000 A: apk)."""
    package, content, [token] = new_package(), apk(2000), tokens(scope="apk_download")
    accepted(upload(api, content, package_name=package), 201)
    path, params = "/v1/apk/download-latest", {"package_name": package}
    assert api.bearer(token["token"], "GET", path, params=params).body == content
    accepted(api.admin("DELETE", f"/v1/enroll-tokens/{token['token_id']}"))
    refused(api.bearer(token["token"], "GET", path, params=params), 401, "token_revoked")


@case("loop/003", "* 401", "* 403")
def test_nobody_gets_in_without_credentials(api: Api, device: NewDevice) -> None:
    """Without credentials devices get 401, admins and unsigned commands 403 (000 A: 401, 403)."""
    one = device()
    for path in ("/v1/register", "/v1/heartbeat", "/v1/action-result"):
        refused(api.request("POST", path, json={}), 401, "token_missing")
    for path in ("/v1/devices", "/admin/dispatches", "/v1/enroll-tokens", "/metrics", "/v1/scripts/enroll.sh?alias=A"):
        refused(api.request("GET", path), 403, "admin_required")
    command = {"device_id": one.device_id, "action": "ping"}
    refused(api.admin("POST", "/admin/command", json=command), 403, "signature_missing")
    refused(api.command(command, signature="sha256=" + "0" * 64), 403, "signature_invalid")
