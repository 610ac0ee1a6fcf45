"""One plain request per operation, for cases that hold for all of them: outages, limits.

Does not know what an answer should be.
"""

from typing import Any

from acceptance.apks import upload
from acceptance.system import System
from harness.client import Answer

UNKNOWN = "01890000-0000-7000-8000-000000000000"
# Whose credentials, and what is asked. The operations without the contract's own pages, which nobody refuses.
CALLS: dict[str, tuple[str, str, str, Any]] = {
    "registerDevice": ("enrolment", "POST", "/v1/register", {"agent_version": "1.4.2"}),
    "recordHeartbeat": ("device", "POST", "/v1/heartbeat", {"status": "ok"}),
    "completeAction": ("device", "POST", "/v1/action-result", {"request_id": "some-dispatch", "outcome": "ok"}),
    "sendCommand": ("signed", "POST", "/admin/command", {"device_id": UNKNOWN, "action": "ping"}),
    "listDevices": ("admin", "GET", "/v1/devices", None),
    "getDevice": ("admin", "GET", f"/v1/devices/{UNKNOWN}", None),
    "retireDevice": ("admin", "DELETE", f"/v1/devices/{UNKNOWN}", None),
    "listDispatches": ("admin", "GET", "/admin/dispatches", None),
    "getDispatch": ("admin", "GET", "/admin/dispatches/some-dispatch", None),
    "createEnrollTokens": ("admin", "POST", "/v1/enroll-tokens", {"aliases": ["A"]}),
    "listEnrollTokens": ("admin", "GET", "/v1/enroll-tokens", None),
    "revokeEnrollToken": ("admin", "DELETE", f"/v1/enroll-tokens/{UNKNOWN}", None),
    "uploadApkBuild": ("upload", "POST", "/v1/apk/builds", None),
    "listApkBuilds": ("admin", "GET", "/v1/apk/builds", None),
    "downloadLatestApk": ("enrolment", "GET", "/v1/apk/download-latest", None),
    "headLatestApk": ("enrolment", "HEAD", "/v1/apk/download-latest", None),
    "renderEnrollSh": ("admin", "GET", "/v1/scripts/enroll.sh?alias=D01", None),
    "renderEnrollCmd": ("admin", "GET", "/v1/scripts/enroll.cmd?alias=D01", None),
    "getMetrics": ("admin", "GET", "/metrics", None),
    "getHealth": ("admin", "GET", "/healthz", None),
    "getReadiness": ("admin", "GET", "/readyz", None),
}


def call(system: System, operation: str, *, device: str = "", enrolment: str = "", anonymous: bool = False) -> Answer:
    """The operation with its credentials, or with none; device and enrolment are the tokens that it may need."""
    who, method, path, body = CALLS[operation]
    if anonymous:
        return system.api.request(method, path, json=body)
    if who == "upload":
        return upload(system.api)
    if who == "signed":
        return system.api.command(body)
    if who == "admin":
        return system.api.admin(method, path, json=body)
    return system.api.bearer(device if who == "device" else enrolment, method, path, json=body)
