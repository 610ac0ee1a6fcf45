"""What a generated case lacks for being valid to *this* service: ids that exist, tokens that are good, a signature.

The specification says which requests are well-formed, not which devices exist. A positive case therefore gets a
thing that exists in place of an invented one, except every few times, so that the 404s are seen too. Negative cases
keep what makes them negative. It judges no answer.
"""

from __future__ import annotations

import itertools
import secrets
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Final

from schemathesis.core.transport import Response

from contracts.fuzz.cases import Sent, body_bytes, in_scenario, kept, members, spoils_the_signature
from contracts.fuzz.platform import PlatformSupplies
from contracts.fuzz.sandboxes import SandboxSupplies
from contracts.fuzz.world import PACKAGE_NAME, Enrolled, World, sha256
from harness.devices.apk import apk
from harness.settings import Target

DEVICES: Final = 3
LISTS: Final = {
    "listDevices": "/v1/devices",
    "listEnrollTokens": "/v1/enroll-tokens",
    "listDispatches": "/admin/dispatches",
    "listApkBuilds": "/v1/apk/builds",
}


class Supplies:
    """Everything is made on first use."""

    def __init__(self, target: Target) -> None:
        self.world = World(target)
        self._admin_key = target.admin_key
        self._made: dict[str, Any] = {}
        self._tokens: dict[str, str] = {}
        self._dispatched_to: dict[str, str] = {}
        self._known: set[str] = set()
        self._archive = "", b""
        self._turns: dict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
        self._supply: dict[str, Callable[[Sent], None]] = {
            "registerDevice": self._registration,
            "completeAction": self._result,
            "sendCommand": self._command,
            "getDevice": self._device_read,
            "retireDevice": self._retirement,
            "getDispatch": self._dispatch_read,
            "revokeEnrollToken": self._revocation,
            "uploadApkBuild": self._upload,
            "downloadLatestApk": self._download,
            "headLatestApk": self._download,
        }
        self._sandboxes = SandboxSupplies(self.world, self._once)
        self._platform = PlatformSupplies(self.world, self._once)
        self._supply |= self._sandboxes.supply | self._platform.supply

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def _turn(self, name: str) -> int:
        return next(self._turns[name])

    def device(self, number: int = 0) -> Enrolled:
        """One of the devices that stay enrolled for the whole run."""
        made: Enrolled = self._once(f"device {number}", self.world.device)
        self._tokens.setdefault(made.device_id, made.token)
        return made

    def _lasting(self, device_id: object) -> bool:
        return device_id in {made.device_id for made in self._made.values() if isinstance(made, Enrolled)}

    # Credentials

    def credential(self, operation_id: str, case: Sent) -> tuple[str, str] | None:
        """Header and value that the operation's security asks for; None where it asks for nothing."""
        if operation_id in ("recordHeartbeat", "completeAction"):
            return "Authorization", f"Bearer {self.device().token}"
        if operation_id == "registerDevice":
            return "Authorization", f"Bearer {self._shared_enrol_token()}"
        if operation_id in ("downloadLatestApk", "headLatestApk") and not case.query.get("source"):
            return "Authorization", f"Bearer {self._download_token()}"
        schemes = [scheme for ways in case.operation.definition.raw.get("security", ()) for scheme in ways]
        if "adminKey" in schemes:
            return "X-Admin", self._admin_key
        if "zoneKey" in schemes:
            return self._platform.credential(case.operation.definition.raw["tags"][0])
        return self._sandboxes.credential(schemes[0]) if schemes else None

    def _shared_enrol_token(self) -> str:
        """For registrations without an alias, one operation at a time: all of them enrol the same device anew."""
        batch = self._turn("shared enrol token") // 900
        token: str = self._once(f"enrol token {batch}", lambda: self.world.enrol_token(uses=1000)["token"])
        return token

    def _download_token(self) -> str:
        scope = "apk_download"
        token: str = self._once("download token", lambda: self.world.enrol_token(scope=scope, uses=1000)["token"])
        return token

    # Requests

    def prepare(self, operation_id: str, case: Sent) -> None:
        """Last changes before a case is sent; after them it is signed, if it is to be."""
        self._platform.choose_zone(case)
        self._platform.choose_brick(operation_id, case)
        if case.meta is None or case.meta.generation.mode.is_positive:
            if operation_id in self._supply:
                self._supply[operation_id](case)
            if operation_id in LISTS:
                self._list(LISTS[operation_id], case)
        if operation_id == "sendCommand":
            self._sign(case)

    def _gives_way(self, case: Sent, value: object) -> bool:
        """Whether the value should give way to one that exists."""
        return value not in self._known and not kept(case, value)

    def _registration(self, case: Sent) -> None:
        body = members(case)
        # In a scenario every device is a new one: it may be retired, and enrolling its alias anew would revive it.
        if "Authorization" not in case.headers or not (in_scenario(case) or "alias" in body):
            return
        alias = self.world.alias() if in_scenario(case) else str(body["alias"])
        if "alias" in body:
            body["alias"] = alias
        case.headers["Authorization"] = f"Bearer {self.world.enrol_token(alias)['token']}"

    def _result(self, case: Sent) -> None:
        body = members(case)
        if self._gives_way(case, body.get("request_id")):
            batch = self._turn("dispatch") // 3
            body["request_id"] = self._once(f"dispatch {batch}", self._dispatch)
        token = self._tokens.get(self._dispatched_to.get(body["request_id"], ""))
        if token is not None and "Authorization" in case.headers:
            case.headers["Authorization"] = f"Bearer {token}"

    def _dispatch(self) -> str:
        request_id = self.world.dispatch(self.device())
        self._dispatched_to[request_id] = self.device().device_id
        self._known.add(request_id)
        return request_id

    def _command(self, case: Sent) -> None:
        body = members(case)
        if in_scenario(case) and "request_id" in body:
            body["request_id"] = f"scenario-{uuid.uuid4()}"
        if "device_id" in body and self._gives_way(case, body["device_id"]):
            body["device_id"] = self.device().device_id
        if "device_ids" in body and not kept(case, body["device_ids"]):
            body["device_ids"] = [self.device(n).device_id for n in range(min(DEVICES, len(body["device_ids"])))]

    def _device_read(self, case: Sent) -> None:
        if self._gives_way(case, case.path_parameters["device_id"]):
            case.path_parameters["device_id"] = self.device().device_id

    def _retirement(self, case: Sent) -> None:
        given = case.path_parameters["device_id"]
        if given not in self._known or self._lasting(given):
            case.path_parameters["device_id"] = self._spare(case, "device", given, 20)

    def _spare(self, case: Sent, kind: str, given: object, uses: int) -> str:
        """An id to destroy: one of ours, a new one every few uses, now and then one that does not exist.

        Never the generated one: it may have been read from a list, and be what another process or case relies on.
        """
        if kept(case, f"{kind} {given}"):
            return str(uuid.uuid4())
        make = {"device": lambda: self.world.device().device_id, "token": lambda: self.world.enrol_token()["token_id"]}
        return str(self._once(f"spare {kind} {self._turn(kind) // uses}", make[kind]))

    def _dispatch_read(self, case: Sent) -> None:
        if self._gives_way(case, case.path_parameters["request_id"]):
            case.path_parameters["request_id"] = self._once("dispatch to read", self._dispatch)

    def _revocation(self, case: Sent) -> None:
        given = case.path_parameters["token_id"]
        if given not in self._known:
            case.path_parameters["token_id"] = self._spare(case, "token", given, 5)

    def _upload(self, case: Sent) -> None:
        if in_scenario(case):
            case.query["version_code"] = 1 + secrets.randbelow(2_100_000_000)
        # Beside the case: a body put into it would count as negative, since no JSON Schema accepts bytes.
        self._archive = case.id, apk()
        if "sha256" in case.query:
            case.query["sha256"] = sha256(self._archive[1])

    def archive(self, case: Sent, generated: object) -> bytes:
        """The body of an upload: a real archive for a valid request, else what was generated."""
        if self._archive[0] == case.id:
            return self._archive[1]
        return generated if isinstance(generated, bytes) else str(generated).encode("utf-8", "replace")

    def _download(self, case: Sent) -> None:
        build_type = case.query.get("build_type", "release")
        self._once(f"build {build_type}", lambda: self.world.build(build_type))
        if "package_name" in case.query and self._gives_way(case, case.query["package_name"]):
            case.query["package_name"] = PACKAGE_NAME
        if "If-Match" in case.headers and self._gives_way(case, case.headers["If-Match"]):
            case.headers["If-Match"] = "*"

    def _list(self, path: str, case: Sent) -> None:
        if in_scenario(case):
            # Later steps follow what is listed, and whether a filter finds something depends on everything before.
            self._once("dispatch to read", self._dispatch)  # to a device, which had a token
            self._once("build release", lambda: self.world.build("release"))
            for name in [name for name in case.query if name != "limit"]:
                del case.query[name]
        if "cursor" not in case.query:
            return
        # A cursor of the right shape that the service did not give out is refused, and rightly.
        cursor = self._once(f"cursor of {path}", lambda: self.world.cursor(path))
        if cursor is None:
            del case.query["cursor"]
        else:
            case.query["cursor"] = cursor

    def _sign(self, case: Sent) -> None:
        if spoils_the_signature(case):
            return
        timestamp = str(int(time.time()))
        case.headers["X-Timestamp"] = timestamp
        case.headers["X-Signature"] = self.world.client.sign(timestamp, body_bytes(case))

    def learn(self, operation_id: str, case: Sent, response: Response) -> None:
        """Ids that an answer gave out count as existing from now on."""
        if not 200 <= response.status_code < 300:
            return
        if operation_id == "allocateSandbox":
            self._sandboxes.learn(case, response)
        self._platform.learn(operation_id, response)
        if operation_id == "registerDevice":
            made = response.json()
            self._tokens[made["device_id"]] = made["device_token"]
            self._known.add(made["device_id"])
        elif operation_id == "sendCommand":
            for dispatch in response.json()["dispatches"]:
                self._dispatched_to[dispatch["request_id"]] = dispatch["device_id"]
                self._known.add(dispatch["request_id"])
        elif operation_id == "createEnrollTokens":
            self._known.update(item["token_id"] for item in response.json()["tokens"])
