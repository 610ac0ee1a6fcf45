"""One plain request per operation and who may make it, for cases that hold for all of them: access, outages, limits.

Does not know what an answer should be.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from acceptance.fleet.apks import new_package
from acceptance.suite.environments import given_target
from acceptance.system.api import Api
from acceptance.system.match import refused
from acceptance.system.system import System
from harness.devices.apk import MEDIA_TYPE, apk
from harness.http.client import Answer, encode
from harness.platform import rpc
from harness.platform.zone import SYNC
from harness.settings import SECRETS

UNKNOWN = "01890000-0000-7000-8000-000000000000"
# What the requests are about, unless a case has something real to ask for.
NOTHING = {
    "device_id": UNKNOWN,
    "token_id": UNKNOWN,
    "request_id": "some-dispatch",
    "package_name": "com.nobody.app",
    "sandbox_id": "sb-nobody-s",
    "undeletable_id": "sb-nobody-s",
    "zone_id": "nobody-s",
    "key_name": "nobody-s",
}
TRACK_ID = "track-of-every-operation"
AGENT = "worker-7"

Headers = list[tuple[str, str]]
Proof = Callable[[bytes], Headers]  # the headers that say who asks; a signature depends on the body


@dataclass(frozen=True)
class Call:
    """A request that is good but for what it is about; names in braces stand for that."""

    # device, enrolment, download (an enrolment token or an admin), admin, signed, track, pool (its admin),
    # zone (a key of the platform), open (all)
    caller: str
    method: str
    path: str
    body: Any = None
    header: tuple[str, str] | None = None

    def filled(self, about: dict[str, str]) -> tuple[str, bytes | None, Headers]:
        """Path, body, and the header that the request needs beside credentials."""
        path = self.path.format(**about)
        if self.body is apk:
            return f"{path}&package_name={new_package()}", apk(), [("Content-Type", MEDIA_TYPE)]
        if self.body is None:
            return path, None, [] if self.header is None else [self.header]
        body = {name: value.format(**about) if isinstance(value, str) else value for name, value in self.body.items()}
        return path, encode(body), [("Content-Type", "application/json")]


# The sandbox broker's keys and pool are made in the database of a system that the run has started.
_BROKER = {
    "allocateSandbox": Call("track", "POST", "/v1/allocate"),
    "getCurrentAllocation": Call("track", "GET", "/v1/allocations/current"),
    "getSandbox": Call("track", "GET", "/v1/sandboxes/{sandbox_id}"),
    "extendSandbox": Call("track", "POST", "/v1/sandboxes/{sandbox_id}/extend"),
    "releaseSandbox": Call("track", "POST", "/v1/sandboxes/{sandbox_id}/mark-for-deletion"),
    "listSandboxes": Call("pool", "GET", "/v1/admin/sandboxes"),
    "revokeSandbox": Call("pool", "POST", "/v1/admin/sandboxes/{sandbox_id}/revoke", {"reason": "a case says so"}),
    "retrySandboxDeletion": Call("pool", "POST", "/v1/admin/sandboxes/{undeletable_id}/retry-deletion"),
    "getSandboxStats": Call("pool", "GET", "/v1/admin/stats"),
    "getSandboxUsage": Call("pool", "GET", "/v1/admin/usage?from=2026-11-01&to=2026-11-30"),
    "syncSandboxes": Call("pool", "POST", "/v1/admin/sync"),
    "cleanUpSandboxes": Call("pool", "POST", "/v1/admin/cleanup"),
    "expireAllocations": Call("pool", "POST", "/v1/admin/auto-expire"),
    "deleteStaleSandboxes": Call("pool", "POST", "/v1/admin/auto-delete-stale"),
    "bulkDeleteSandboxes": Call("pool", "POST", "/v1/admin/bulk-delete?status=stale"),
}


def _rpc(method: str, **params: Any) -> Call:
    return Call("zone", "POST", f"/api/nfs/{method}", rpc.request(method, params))


_TASKS = "/api/v2/scheduler"
# So are the platform's. What an admin does without naming a zone is done in root.
_PLATFORM = {
    "createZone": Call("zone", "POST", "/api/zones", {"name": "of every operation"}),
    "listZones": Call("zone", "GET", "/api/zones"),
    "getZone": Call("zone", "GET", "/api/zones/{zone_id}"),
    "updateZone": Call("zone", "PATCH", "/api/zones/{zone_id}", {"owner": "somebody"}),
    "deleteZone": Call("zone", "DELETE", "/api/zones/{zone_id}"),
    "createKey": Call("zone", "POST", "/api/keys", {"name": "{key_name}", "role": "member", "zone": "{zone_id}"}),
    "listKeys": Call("zone", "GET", "/api/keys"),
    "revokeKey": Call("zone", "DELETE", "/api/keys/{key_name}"),
    "callBatch": Call("zone", "POST", "/api/nfs", rpc.request("exists", {"path": "/"})),
    "writeFile": _rpc("write", path="/of-every-operation", content="text"),
    "readFile": _rpc("read", path="/of-every-operation"),
    "deleteFile": _rpc("delete", path="/nowhere"),
    "renamePath": _rpc("rename", old_path="/nowhere", new_path="/elsewhere"),
    "listDirectory": _rpc("list", path="/"),
    "pathExists": _rpc("exists", path="/"),
    "makeDirectory": _rpc("mkdir", path="/nowhere/there", parents=False),
    "removeDirectory": _rpc("rmdir", path="/nowhere"),
    "listEvents": Call("zone", "GET", "/api/v2/events"),
    "replayEvents": Call("zone", "GET", "/api/v2/events/replay"),
    # A caller that is let in is told that this is no id of an event: an answer that ends.
    "streamEvents": Call("zone", "GET", "/api/v2/events/stream", header=("Last-Event-ID", "none")),
    "registerAgent": _rpc("register_agent", agent_id=AGENT, name="of every operation"),
    "updateAgent": _rpc("update_agent", agent_id=AGENT, name="of each operation"),
    "getAgent": _rpc("get_agent", agent_id=AGENT),
    "listAgents": _rpc("list_agents"),
    "listAgentsByZone": _rpc("agent_list_by_zone", zone_id="root"),
    "moveAgent": _rpc("agent_transition", agent_id=AGENT, target_state="IDLE"),
    "receiveAgentHeartbeat": _rpc("agent_heartbeat", agent_id=AGENT),
    "addMount": _rpc(
        "add_mount", mount_point="/of-every-operation", backend_type="nothing", backend_config={}, readonly=True
    ),
    "getMount": _rpc("get_mount", mount_point="/nowhere"),
    "hasMount": _rpc("has_mount", mount_point="/nowhere"),
    "listMounts": _rpc("list_mounts"),
    "removeMount": _rpc("remove_mount", mount_point="/nowhere"),
    "saveMount": _rpc("save_mount", mount_point="/nowhere"),
    "listSavedMounts": _rpc("list_saved_mounts"),
    "loadMount": _rpc("load_mount", mount_point="/nowhere"),
    "deleteSavedMount": _rpc("delete_saved_mount", mount_point="/nowhere"),
    "listConnectors": _rpc("list_connectors"),
    "listOwners": _rpc("rebac_list_tuples", object=["file", "/nowhere"]),
    "queryAgents": Call("zone", "GET", "/api/v2/agents"),
    "getAgentSpec": Call("zone", "GET", f"/api/v2/agents/{AGENT}/spec"),
    "setAgentSpec": Call("zone", "PUT", f"/api/v2/agents/{AGENT}/spec", {"agent_type": "worker"}),
    "getAgentStatus": Call("zone", "GET", f"/api/v2/agents/{AGENT}/status"),
    "warmUpAgent": Call("zone", "POST", f"/api/v2/agents/{AGENT}/warmup", {"steps": []}),
    "deleteAgent": _rpc("delete_agent", agent_id=AGENT),
    # Without Tus-Resumable: a caller that is let in is told that it is missing, and nothing is begun or ended.
    "createUpload": Call("zone", "POST", "/api/v2/uploads"),
    "getUpload": Call("zone", "HEAD", f"/api/v2/uploads/{UNKNOWN}"),
    "appendToUpload": Call("zone", "PATCH", f"/api/v2/uploads/{UNKNOWN}"),
    "terminateUpload": Call("zone", "DELETE", f"/api/v2/uploads/{UNKNOWN}"),
    "submitTask": Call("zone", "POST", f"{_TASKS}/submit", {"executor": "nobody", "task_type": "of-every-operation"}),
    "classifyTask": Call("zone", "POST", f"{_TASKS}/classify", {"priority": "low"}),
    "claimTasks": Call("zone", "POST", f"{_TASKS}/claim", {"executor": AGENT}),
    # A caller that is let in is told that there is no such task.
    "getTask": Call("zone", "GET", f"{_TASKS}/task/{UNKNOWN}"),
    "heartbeatTask": Call("zone", "POST", f"{_TASKS}/task/{UNKNOWN}/heartbeat", {"lease_token": UNKNOWN}),
    "completeTask": Call("zone", "POST", f"{_TASKS}/task/{UNKNOWN}/complete", {"lease_token": UNKNOWN}),
    "failTask": Call("zone", "POST", f"{_TASKS}/task/{UNKNOWN}/fail", {"lease_token": UNKNOWN, "error": "none"}),
    "cancelTask": Call("zone", "POST", f"{_TASKS}/task/{UNKNOWN}/cancel"),
    "getSchedulerMetrics": Call("zone", "GET", f"{_TASKS}/metrics"),
    "pushRoot": Call("zone", "POST", f"{SYNC}/mounts//push"),
    "pushMount": Call("zone", "POST", f"{SYNC}/mounts/nothing/push"),
    "listSyncRuns": Call("zone", "GET", f"{SYNC}/runs"),
    "listConflicts": Call("zone", "GET", f"{SYNC}/conflicts"),
    "getConflict": Call("zone", "GET", f"{SYNC}/conflicts/{UNKNOWN}"),
    "resolveConflict": Call("zone", "POST", f"{SYNC}/conflicts/{UNKNOWN}/resolve", {"strategy": "keep_both"}),
    # Of a part that there is not: a caller that is let in is told so.
    "getBricksHealth": Call("zone", "GET", "/api/v2/bricks/health"),
    "getBrick": Call("zone", "GET", "/api/v2/bricks/nothing"),
    "mountBrick": Call("zone", "POST", "/api/v2/bricks/nothing/mount"),
    "unmountBrick": Call("zone", "POST", "/api/v2/bricks/nothing/unmount"),
    "remountBrick": Call("zone", "POST", "/api/v2/bricks/nothing/remount"),
}
OF_A_STACK = frozenset(call.caller for call in (_BROKER | _PLATFORM).values())
CALLS = {
    "registerDevice": Call("enrolment", "POST", "/v1/register", {"agent_version": "1.4.2"}),
    "recordHeartbeat": Call("device", "POST", "/v1/heartbeat", {"status": "ok"}),
    "completeAction": Call("device", "POST", "/v1/action-result", {"request_id": "{request_id}", "outcome": "ok"}),
    "sendCommand": Call("signed", "POST", "/admin/command", {"device_id": "{device_id}", "action": "ping"}),
    "listDevices": Call("admin", "GET", "/v1/devices"),
    "getDevice": Call("admin", "GET", "/v1/devices/{device_id}"),
    "retireDevice": Call("admin", "DELETE", "/v1/devices/{device_id}"),
    "listDispatches": Call("admin", "GET", "/admin/dispatches"),
    "getDispatch": Call("admin", "GET", "/admin/dispatches/{request_id}"),
    "createEnrollTokens": Call("admin", "POST", "/v1/enroll-tokens", {"aliases": ["A"]}),
    "listEnrollTokens": Call("admin", "GET", "/v1/enroll-tokens"),
    "revokeEnrollToken": Call("admin", "DELETE", "/v1/enroll-tokens/{token_id}"),
    "uploadApkBuild": Call("admin", "POST", "/v1/apk/builds?version_code=1&version_name=1.0.0", apk),
    "listApkBuilds": Call("admin", "GET", "/v1/apk/builds"),
    "downloadLatestApk": Call("download", "GET", "/v1/apk/download-latest?package_name={package_name}"),
    "headLatestApk": Call("download", "HEAD", "/v1/apk/download-latest?package_name={package_name}"),
    "renderEnrollSh": Call("admin", "GET", "/v1/scripts/enroll.sh?alias=D01"),
    "renderEnrollCmd": Call("admin", "GET", "/v1/scripts/enroll.cmd?alias=D01"),
    "getMetrics": Call("admin", "GET", "/metrics"),
    "getHealth": Call("open", "GET", "/healthz"),
    "getReadiness": Call("open", "GET", "/readyz"),
    "getOpenapiYaml": Call("open", "GET", "/openapi.yaml"),
    "getOpenapiJson": Call("open", "GET", "/openapi.json"),
    "getDocs": Call("open", "GET", "/docs"),
    "getPlatformHealth": Call("open", "GET", "/health"),
    "describeUploads": Call("open", "OPTIONS", "/api/v2/uploads"),
    **({} if given_target() else _BROKER | _PLATFORM),
}
OF_UPLOADS = {"createUpload", "getUpload", "appendToUpload", "terminateUpload"}
OF_AN_AGENT = {"getAgentSpec", "setAgentSpec", "getAgentStatus", "warmUpAgent"}
OF_A_TASK = {"getTask", "heartbeatTask", "completeTask", "failTask"}
OF_A_BRICK = {"getBrick", "mountBrick", "unmountBrick", "remountBrick"}
OF_A_CONFLICT = {"getConflict", "resolveConflict"}
OF_THE_PROVIDER = {"syncSandboxes", "cleanUpSandboxes"}
# What tells that a caller was let in: no provider, an empty list of it, its open breaker; no agent, task, part, mount
# or conflict; see streamEvents.
_LET_IN = {
    **dict.fromkeys(OF_THE_PROVIDER, ("provider_not_configured", "sync_implausible", "circuit_open")),
    "streamEvents": ("validation_error",),
    **dict.fromkeys(OF_AN_AGENT, ("agent_not_found", "agent_spec_not_found")),
    **dict.fromkeys(OF_A_TASK, ("task_not_found",)),
    **dict.fromkeys(OF_A_BRICK, ("brick_not_found",)),
    **dict.fromkeys(OF_A_CONFLICT, ("conflict_not_found",)),
    "pushMount": ("mount_not_found",),
    **dict.fromkeys(OF_UPLOADS, ("tus_version_unsupported", 412)),
}
WITHOUT_DATABASE = {"getOpenapiYaml", "getOpenapiJson", "getDocs", "getPlatformHealth", "describeUploads"}


def is_let_in(operation: str, answer: Answer) -> bool:
    """Whether the answer is none of a caller that is refused. That to HEAD has no code to look at."""
    told = answer.json()["code"] if answer.status >= 400 and answer.body else answer.status
    return answer.status in (200, 201, 202, 204) or told in _LET_IN.get(operation, ())


def is_refused(operation: str, answer: Answer, status: int, code: str) -> None:
    """As match.refused; of an answer to HEAD, which has no body, the status alone."""
    if CALLS[operation].method == "HEAD":
        assert answer.status == status, f"expected {status} {code}, got {answer.status}"
    else:
        refused(answer, status, code)


def nobody(_raw: bytes) -> Headers:
    """No credential at all."""
    return []


def bearer(token: str) -> Proof:
    SECRETS.add(token)
    return lambda _raw: [("Authorization", f"Bearer {token}")]


class Keys(NamedTuple):
    """API keys: the sandbox broker's of each role; the admin's opens the platform, too."""

    track: str = ""
    admin: str = ""


NO_KEYS = Keys()


def track(key: str, track_id: str = TRACK_ID) -> Proof:
    """A key of role track, for this track."""
    return both(bearer(key), lambda _raw: [("X-Track-ID", track_id)])


def admin(system: System) -> Proof:
    return lambda _raw: [("X-Admin", system.target.admin_key)]


def signed(system: System, age_s: int = 0) -> Proof:
    """A right signature without the admin key, by default of now."""
    stamp = int(time.time()) - age_s
    return lambda raw: [("X-Timestamp", str(stamp)), ("X-Signature", system.api.sign(stamp, raw))]


def both(one: Proof, other: Proof) -> Proof:
    return lambda raw: [*one(raw), *other(raw)]


def send(api: Api, operation: str, proof: Proof, about: dict[str, str] = NOTHING) -> Answer:
    """The operation's request with exactly these credentials."""
    one = CALLS[operation]
    path, content, media_type = one.filled(about)
    return api.request(one.method, path, content=content, headers=[*proof(content or b""), *media_type])


def own(system: System, operation: str, *, device: str = "", enrolment: str = "", keys: Keys = NO_KEYS) -> Proof:
    """The operation's right credentials; device, enrolment and keys are those that it may need."""
    caller = CALLS[operation].caller
    if caller in ("enrolment", "download"):
        return bearer(enrolment)
    if caller == "device":
        return bearer(device)
    if caller == "track":
        return track(keys.track)
    if caller in ("pool", "zone"):
        return bearer(keys.admin)
    if caller == "signed":
        return both(admin(system), signed(system))
    return admin(system) if caller == "admin" else nobody
