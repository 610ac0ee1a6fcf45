"""What a generated call of JSON-RPC lacks for a result: an id, and parameters for which there is something.

A few calls stay as they were generated, for the sake of their errors, and some have no id. A scenario's have names for
their parameters, since its links point at them.
"""

from __future__ import annotations

import base64
import copy
import zlib
from collections.abc import Callable
from typing import Any, Final

from contracts.fuzz.cases import Sent, in_scenario, kept
from contracts.fuzz.zones import KEPT, Zones

Params = dict[str, Any]
_METHODS: Final = {
    "writeFile": "write",
    "readFile": "read",
    "deleteFile": "delete",
    "renamePath": "rename",
    "listDirectory": "list",
    "pathExists": "exists",
    "makeDirectory": "mkdir",
    "removeDirectory": "rmdir",
    "registerAgent": "register_agent",
    "updateAgent": "update_agent",
    "getAgent": "get_agent",
    "deleteAgent": "delete_agent",
    "listAgents": "list_agents",
    "listAgentsByZone": "agent_list_by_zone",
    "moveAgent": "agent_transition",
    "receiveAgentHeartbeat": "agent_heartbeat",
    "addMount": "add_mount",
    "getMount": "get_mount",
    "hasMount": "has_mount",
    "listMounts": "list_mounts",
    "removeMount": "remove_mount",
    "saveMount": "save_mount",
    "listSavedMounts": "list_saved_mounts",
    "loadMount": "load_mount",
    "deleteSavedMount": "delete_saved_mount",
    "listConnectors": "list_connectors",
    "listOwners": "rebac_list_tuples",
}


class Calls:
    """`supply`: by operation, what puts good parameters into a positive case."""

    def __init__(self, zones: Zones) -> None:
        self._zones = zones
        self._written: set[str] = set()
        self._good: dict[str, Callable[[Params], Params]] = {
            "write": self._write,
            "read": lambda given: {"path": self._of_ours(given, self._zones.file)},
            "delete": lambda given: {"path": self._of_ours(given, "") or self._zones.write()},
            "rename": lambda _: {"old_path": self._zones.write(), "new_path": f"/{self._zones.name()}"},
            "list": self._list,
            "exists": lambda _: {"path": self._zones.file},
            "mkdir": lambda _: {"path": f"/{self._zones.name()}"},
            "rmdir": lambda _: {"path": self._zones.directory()},
            "register_agent": lambda given: {**given, "agent_id": self._zones.name(), "name": "Of the fuzzer"},
            "update_agent": lambda given: {**given, "agent_id": self._zones.agent},
            "get_agent": lambda _: {"agent_id": self._zones.agent},
            "delete_agent": lambda _: {"agent_id": self._zones.new_agent()},
            "list_agents": lambda given: {**given, "zone_id": self._zones.id},
            "agent_list_by_zone": lambda given: {"zone_id": self._zones.id} | _some(given, "state"),
            "agent_transition": lambda _: {"agent_id": self._zones.new_agent(), "target_state": "CONNECTED"},
            "agent_heartbeat": lambda given: {"agent_id": self._zones.connected_agent} | _some(given, "usage"),
            "add_mount": lambda _: self._zones.new_mount(),
            **dict.fromkeys(("get_mount", "has_mount"), lambda _: {"mount_point": self._zones.mount}),
            "remove_mount": lambda given: {"mount_point": self._zones.mounted()} | _some(given, "force"),
            **dict.fromkeys(("save_mount", "load_mount"), lambda _: {"mount_point": self._zones.mount}),
            "delete_saved_mount": lambda _: {"mount_point": self._zones.mounted()},
            **dict.fromkeys(("list_mounts", "list_saved_mounts", "list_connectors"), lambda _: {}),
            "rebac_list_tuples": lambda _: {"object": ["file", self._zones.mount]},
        }
        self.supply: dict[str, Callable[[Sent], None]] = {
            "callBatch": lambda case: self._supply(case, lambda call: str(call["method"])),
            **{operation: self._one(method) for operation, method in _METHODS.items()},
        }

    def _one(self, method: str) -> Callable[[Sent], None]:
        def supply(case: Sent) -> None:
            self._supply(case, lambda _: method)

        return supply

    def _supply(self, case: Sent, method_of: Callable[[dict[str, Any]], str]) -> None:
        if kept(case, case.body):
            return
        sent: Any = copy.deepcopy(case.body)  # which other cases have, too
        for call in sent if isinstance(sent, list) else [sent]:
            self._complete(call, method_of(call), named=in_scenario(case))
        case.body = sent

    def _complete(self, call: dict[str, Any], method: str, *, named: bool) -> None:
        """Put an id and good parameters into a call, in an array where it had one."""
        with_id = named or zlib.crc32(str(call).encode()) % 8 > 0
        given = call.get("params", {})
        good = self._good[method](given if isinstance(given, dict) else {})
        call["params"] = list(good.values()) if isinstance(given, list) and not named else good
        if with_id:
            call.setdefault("id", 1)

    def _of_ours(self, given: Params, otherwise: str) -> str:
        """The path of the call where the fuzzer has written it."""
        path = str(given.get("path"))
        return path if path in self._written else otherwise

    def _write(self, given: Params) -> Params:
        path = f"/{self._zones.name()}"
        self._written.add(path)
        content = given.get("content", "")
        if isinstance(content, dict):
            content = {"__type__": "bytes", "data": base64.b64encode(str(content).encode()).decode()}
        return {"path": path, "content": content}

    def _list(self, given: Params) -> Params:
        kept_files = {"path": KEPT} | _some(given, "recursive", "limit")
        self._zones.file  # noqa: B018 - so that KEPT is there
        return kept_files | ({"cursor": self._zones.page_of_files()} if "cursor" in given else {})


def _some(given: Params, *names: str) -> Params:
    return {name: given[name] for name in names if name in given}
