"""A zone of our own with its keys and files, made over HTTP as an admin of the platform would. It judges no answer."""

from __future__ import annotations

import base64
import functools
import itertools
import tempfile
import uuid
from collections.abc import Callable
from typing import Any, Final

from contracts.fuzz.world import POOL_PREFIX, World, WorldBroken

LONG: Final = 2**30  # bytes: no chunk of the fuzzer is longer
KEPT: Final = "/kept"  # a directory of two files, which nothing changes


class Zones:
    """Zones, their keys, and the files of the one that calls are made in. All is made on first use."""

    def __init__(self, world: World, admin_key: Callable[[], str]) -> None:
        """admin_key: a key of role admin, which every service takes."""
        self._world, self._make_admin_key = world, admin_key
        self._count = itertools.count(1)

    def name(self) -> str:
        """A name for a zone or a key that nobody has."""
        return f"{POOL_PREFIX}{self._world.tag}-{next(self._count)}-{uuid.uuid4().hex[:6]}"

    @functools.cached_property
    def admin_key(self) -> str:
        return self._make_admin_key()

    @functools.cached_property
    def id(self) -> str:
        """The zone that calls are made in."""
        return self.make()

    @functools.cached_property
    def member_key(self) -> str:
        return str(self._key()["key"])

    def make(self) -> str:
        """The id of a new zone, which may be changed and deleted."""
        return str(self._made("/api/zones", {"zone_id": self.name(), "name": "Of the fuzzer"})["zone_id"])

    def spare_key(self) -> str:
        """The name of a key that may be revoked."""
        return str(self._key()["name"])

    def _key(self) -> dict[str, Any]:
        return self._made("/api/keys", {"name": self.name(), "role": "member", "zone": self.id})

    def cursor(self, path: str, *, as_admin: bool) -> str | None:
        """A cursor that the list at `path` gave out; None where it fits on one page."""
        return self._world.cursor(path, self.admin_key if as_admin else self.member_key)

    @functools.cached_property
    def file(self) -> str:
        """The path of a file that stays."""
        self.write(f"{KEPT}/b")
        return self.write(f"{KEPT}/a")

    def write(self, path: str = "") -> str:
        """The path of a new file."""
        path = path or f"/{self.name()}"
        self._result("write", path=path, content="of the fuzzer")
        return path

    def directory(self) -> str:
        """The path of a new directory, which is empty."""
        path = f"/{self.name()}"
        self._result("mkdir", path=path)
        return path

    def page_of_files(self) -> str:
        """A cursor of the list of KEPT."""
        self.file  # noqa: B018 - made where it is not yet
        return str(self._result("list", path=KEPT, limit=1)["next_cursor"])

    @functools.cached_property
    def agent(self) -> str:
        """An agent that stays, with a spec."""
        agent_id = self.new_agent()
        self._specify(agent_id)
        return agent_id

    @functools.cached_property
    def connected_agent(self) -> str:
        """An agent that stays connected."""
        agent_id = self.new_agent()
        self._result("agent_transition", agent_id=agent_id, target_state="CONNECTED")
        return agent_id

    def new_agent(self) -> str:
        """The id of a new agent, which may be moved and deleted."""
        return str(self._result("register_agent", agent_id=self.name(), name="Of the fuzzer")["agent_id"])

    def _specify(self, agent_id: str) -> None:
        path = f"/api/v2/agents/{agent_id}/spec"
        self._world.made(self._world.client.bearer(self.member_key, "PUT", path, json={"agent_type": "worker"}))

    def new_mount(self) -> dict[str, Any]:
        """The parameters of a mount that can be added."""
        directory = {"root_path": f"{tempfile.gettempdir()}/nexmdm-of-the-fuzzer"}
        local = {"backend_type": "local", "backend_config": directory}
        return {"mount_point": f"/{self.name()}", **local, "priority": 0, "readonly": True}

    def mounted(self) -> str:
        """The path of a new mount, which may be removed."""
        given = self.new_mount()
        self._result("add_mount", **given)
        return str(given["mount_point"])

    @functools.cached_property
    def mount(self) -> str:
        """The path of a mount that stays, active and saved."""
        path = self.mounted()
        self._result("save_mount", mount_point=path)
        return path

    def conflict(self) -> str:
        """The id of a new conflict: here the file is to be deleted, there is none."""
        return self._world.conflict(self.id, self.mount, self.name())

    def new_upload(self, *, deferred: bool = False) -> dict[str, str]:
        """The headers of a creation."""
        path = base64.b64encode(f"/{self.name()}".encode()).decode()
        length = {"Upload-Defer-Length": "1"} if deferred else {"Upload-Length": str(LONG)}
        return {"Tus-Resumable": "1.0.0", "Upload-Metadata": f"path {path}", **length}

    def upload(self) -> str:
        """The id of a new upload, of which no byte is there."""
        answer = self._world.client.bearer(self.member_key, "POST", "/api/v2/uploads", headers=self.new_upload())
        if answer.status != 201:
            raise WorldBroken(f"/api/v2/uploads: {answer.status}")
        return answer.headers["location"].rpartition("/")[2]

    def task(self, executor: str = "nobody") -> str:
        """The id of a new task, which its owner alone sees: a member who names no agent."""
        return str(self._scheduler("submit", {"executor": executor, "task_type": "fuzz"})["id"])

    def lease(self) -> tuple[str, str]:
        """The id and the token of a task that is leased for longer than the run."""
        executor = self.name()
        self.task(executor)
        [task] = self._scheduler("claim", {"executor": executor, "lease_s": 3600})["tasks"]
        return str(task["id"]), str(task["lease_token"])

    def _scheduler(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        path = f"/api/v2/scheduler/{action}"
        return self._world.made(self._world.client.bearer(self.member_key, "POST", path, json=body))

    def _result(self, method: str, **params: Any) -> dict[str, Any]:
        call = {"jsonrpc": "2.0", "id": 1, "params": params}
        answer = self._world.made(self._world.client.bearer(self.member_key, "POST", f"/api/nfs/{method}", json=call))
        if "result" not in answer:
            raise WorldBroken(f"/api/nfs/{method} has no result: {answer['error']['data']['code']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _made(self, path: str, body: dict[str, str]) -> dict[str, Any]:
        return self._world.made(self._world.client.bearer(self.admin_key, "POST", path, json=body))
