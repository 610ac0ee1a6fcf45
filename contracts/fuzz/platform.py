"""What a generated case of the platform lacks: a zone that the key is good for, keys and zones that are there.

As test_data.py, whose part it is, it judges no answer. Calls of JSON-RPC have their parameters from calls.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from schemathesis.core.transport import Response

from contracts.fuzz.calls import Calls
from contracts.fuzz.cases import Sent, in_scenario, kept, members
from contracts.fuzz.world import World
from contracts.fuzz.zones import Zones

ZONE_HEADER: Final = "X-Nexus-Zone-ID"
AGENT_HEADER: Final = "X-Agent-Id"
_ZONE_ID: Final = re.compile("[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_BRICK: Final = re.compile("[a-z]{1,32}")
_OF_A_BRICK: Final = ("getBrick", "mountBrick", "unmountBrick", "remountBrick")
_OF_A_MEMBER: Final = ("files", "mounts", "events", "agents", "uploads", "scheduler")  # tags
_OF_MEMBERS: Final = {
    "listEvents": "/api/v2/events",
    "replayEvents": "/api/v2/events/replay",
    "queryAgents": "/api/v2/agents",
}
_LISTS: Final = {
    "listKeys": "/api/keys",
    "listZones": "/api/zones",
    "listSyncRuns": "/api/v2/sync/runs",
    "listConflicts": "/api/v2/sync/conflicts",
}


class PlatformSupplies:
    """Everything is made on first use. `once`: makes a thing of this name the first time."""

    def __init__(self, world: World, once: Callable[[str, Callable[[], Any]], Any]) -> None:
        self._world = world
        self._zones, self._once = Zones(world, lambda: once("admin key", lambda: world.api_key("admin"))), once
        self._known: set[str] = set()  # zones, keys, agents and tasks that an answer gave out
        self.supply: dict[str, Callable[[Sent], None]] = {
            "createKey": self._new_key,
            "revokeKey": self._key_of_path,
            "createZone": self._new_zone,
            "getZone": self._zone_of_path(lambda: self._zones.id),
            "updateZone": self._zone_of_path(lambda: once("zone to change", self._zones.make)),
            "deleteZone": self._zone_of_path(self._zones.make),
            "streamEvents": _stream,
            "createUpload": self._new_upload,
            "getUpload": lambda case: self._upload_of_path(case, once("upload to look at", self._zones.upload)),
            "appendToUpload": self._chunk,
            **dict.fromkeys(("getAgentSpec", "setAgentSpec", "getAgentStatus"), self._agent_of_path),
            "warmUpAgent": self._warmup,
            "terminateUpload": lambda case: self._upload_of_path(case, self._zones.upload()),
            "submitTask": self._new_task,
            "claimTasks": _claim,
            "getTask": lambda case: self._task_of_path(case, once("task to look at", self._zones.task)),
            "cancelTask": lambda case: self._task_of_path(case, self._zones.task()),
            **dict.fromkeys(("heartbeatTask", "completeTask", "failTask"), self._lease),
            "pushMount": self._mount_of_path,
            "getConflict": lambda case: self._conflict_of_path(case, once("conflict", self._zones.conflict)),
            "resolveConflict": lambda case: self._conflict_of_path(case, self._zones.conflict()),
            **{name: self._list(path, as_admin=True) for name, path in _LISTS.items()},
            **{name: self._list(path, as_admin=False) for name, path in _OF_MEMBERS.items()},
            **Calls(self._zones).supply,
        }

    def credential(self, tag: str) -> tuple[str, str]:
        """Header and value of a key that may call the operations of this tag."""
        key = self._zones.member_key if tag in _OF_A_MEMBER else self._zones.admin_key
        return "Authorization", f"Bearer {key}"

    def _new_key(self, case: Sent) -> None:
        """No schema says that a subject belongs to one of the roles."""
        body = members(case)
        if not kept(case, body["name"]):
            body["name"] = self._zones.name()
        if not kept(case, body["zone"]):
            body["zone"] = self._zones.id
        if body["role"] != "agent":
            body.pop("subject", None)

    def _key_of_path(self, case: Sent) -> None:
        given = case.path_parameters["name"]
        if given not in self._known and not kept(case, given):
            case.path_parameters["name"] = self._zones.spare_key()

    def choose_brick(self, operation_id: str, case: Sent) -> None:
        """Our own part in place of a real one, which other cases call; what is no name of one stays."""
        given = case.path_parameters.get("name") if operation_id in _OF_A_BRICK else None
        if given is not None and _BRICK.fullmatch(str(given)):
            case.path_parameters["name"] = self._once("brick", self._world.brick)

    def _new_zone(self, case: Sent) -> None:
        body = members(case)
        if "zone_id" in body and not kept(case, body["zone_id"]):
            body["zone_id"] = self._zones.name()

    def _zone_of_path(self, make: Callable[[], str]) -> Callable[[Sent], None]:
        def supply(case: Sent) -> None:
            given = case.path_parameters["zone_id"]
            if given not in self._known and not kept(case, given):
                case.path_parameters["zone_id"] = make()

        return supply

    def _list(self, path: str, *, as_admin: bool) -> Callable[[Sent], None]:
        def supply(case: Sent) -> None:
            if in_scenario(case):  # later steps follow what is listed
                case.query.clear()
            elif "cursor" in case.query:
                case.query.pop("offset", None)
                cursor = self._once(f"cursor of {path}", lambda: self._zones.cursor(path, as_admin=as_admin))
                if cursor is None:
                    del case.query["cursor"]
                else:
                    case.query["cursor"] = cursor

        return supply

    def _new_upload(self, case: Sent) -> None:
        """No schema says that there is one of two lengths, that a path is told, or what the bytes digest to."""
        deferred = "Upload-Defer-Length" in case.headers
        for name in ("Upload-Defer-Length", "Upload-Length", "Upload-Checksum"):
            case.headers.pop(name, None)
        case.headers.update(self._zones.new_upload(deferred=deferred))

    def _chunk(self, case: Sent) -> None:
        self._upload_of_path(case, self._zones.upload())
        case.headers["Upload-Offset"] = "0"
        for name in ("Upload-Length", "Upload-Checksum"):
            case.headers.pop(name, None)

    def _agent_of_path(self, case: Sent) -> None:
        """No schema says which generation a spec has."""
        case.headers.pop("If-Match", None)
        given = case.path_parameters["agent_id"]
        if given not in self._known and not kept(case, given):
            case.path_parameters["agent_id"] = self._zones.agent

    def _warmup(self, case: Sent) -> None:
        """No schema says which required steps there are."""
        if not kept(case, case.path_parameters["agent_id"]):
            case.path_parameters["agent_id"] = self._zones.new_agent()
            case.body = {"steps": [{**step, "required": False} for step in members(case).get("steps", [])]}

    def _upload_of_path(self, case: Sent, upload_id: str) -> None:
        if not kept(case, case.path_parameters["upload_id"]):
            case.path_parameters["upload_id"] = upload_id

    def _new_task(self, case: Sent) -> None:
        """No schema says that a key stands for one task, and that whom X-Agent-Id names alone sees it."""
        body = members(case)
        case.headers.pop(AGENT_HEADER, None)
        if "idempotency_key" in body and not kept(case, body["idempotency_key"]):
            body["idempotency_key"] = self._zones.name()

    def _task_of_path(self, case: Sent, task_id: str) -> None:
        given = case.path_parameters["task_id"]
        if given not in self._known and not kept(case, given):
            case.path_parameters["task_id"] = task_id
        case.headers.pop(AGENT_HEADER, None)

    def _lease(self, case: Sent) -> None:
        if not kept(case, case.path_parameters["task_id"]):
            case.path_parameters["task_id"], members(case)["lease_token"] = self._zones.lease()

    def _mount_of_path(self, case: Sent) -> None:
        if not kept(case, case.path_parameters["mount_point"]):
            case.path_parameters["mount_point"] = self._zones.mount.removeprefix("/")
        self._in_our_zone(case)

    def _conflict_of_path(self, case: Sent, conflict_id: str) -> None:
        if not kept(case, case.path_parameters["conflict_id"]):
            case.path_parameters["conflict_id"] = conflict_id
        self._in_our_zone(case)

    def _in_our_zone(self, case: Sent) -> None:
        """The key is an admin's, who is in root unless it names a zone."""
        given = case.headers.get(ZONE_HEADER)
        if given is None or (_ZONE_ID.fullmatch(given) and not kept(case, given)):
            case.headers[ZONE_HEADER] = self._zones.id

    def choose_zone(self, case: Sent) -> None:
        """Name our zone in place of another, so that not the zone alone is judged; what is no id of one stays."""
        given = case.headers.get(ZONE_HEADER, "")
        if _ZONE_ID.fullmatch(given) and not kept(case, given):
            case.headers[ZONE_HEADER] = self._zones.id

    def learn(self, operation_id: str, response: Response) -> None:
        """What an answer gave out is there from now on."""
        name = {"createKey": "name", "createZone": "zone_id", "submitTask": "id"}.get(operation_id)
        if name is not None:
            self._known.add(response.json()[name])
        if operation_id == "registerAgent" and response.status_code == 200:
            self._known.add(response.json().get("result", {}).get("agent_id"))


def _claim(case: Sent) -> None:
    """At once, and not as a registered agent: there is none."""
    body = members(case)
    body.pop("generation", None)
    body["wait_s"] = 0


def _stream(case: Sent) -> None:
    """From the first event on: where nothing comes, the fuzzer waits for as long as it waits at all."""
    case.headers["Last-Event-ID"] = "0"
