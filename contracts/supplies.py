"""What a generated case lacks for being valid to *this* service: ids that exist, tokens that are good, a signature.

The specification says which requests are well-formed, not which devices exist. A positive case therefore gets an
thing that exists in place of an invented one, except every few times, so that the 404s are seen too. Negative cases
keep what makes them negative. It judges no answer.
"""

from __future__ import annotations

import itertools
import time
import uuid
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import requests
from schemathesis import Case
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.transport import Response

from contracts.world import PACKAGE_NAME, POOL_PREFIX, Enrolled, World, apk, sha256
from harness.settings import Target

Sent = Case[Any]
DEVICES: Final = 3
KEEP_INVENTED_EVERY: Final = 6
# None: all headers at once.
SIGNED_HEADERS: Final = ("X-Timestamp", "X-Signature", None)
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
        security = case.operation.definition.raw.get("security")
        return ("X-Admin", self._admin_key) if security else None

    def _shared_enrol_token(self) -> str:
        """For registrations without an alias: all of them enrol the same device again and again."""
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
        if case.meta is None or case.meta.generation.mode.is_positive:
            supply = self._supply.get(operation_id)
            if supply is not None:
                supply(case)
            if operation_id in LISTS and "cursor" in case.query:
                self._cursor(LISTS[operation_id], case)
        if operation_id == "sendCommand":
            self._sign(case)

    def _gives_way(self, value: object) -> bool:
        """Whether the value should give way to one that exists."""
        return value not in self._known and not _kept(value)

    def _registration(self, case: Sent) -> None:
        body = members(case)
        if "alias" not in body or "Authorization" not in case.headers:
            return
        alias = str(body["alias"])
        if alias.startswith(POOL_PREFIX):  # read from an earlier answer: it would enrol a lasting device anew
            body["alias"] = alias = f"again-{alias}"[:64]
        case.headers["Authorization"] = f"Bearer {self.world.enrol_token(alias)['token']}"

    def _result(self, case: Sent) -> None:
        body = members(case)
        if self._gives_way(body.get("request_id")):
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
        if "device_id" in body and self._gives_way(body["device_id"]):
            body["device_id"] = self.device().device_id
        if "device_ids" in body and not _kept(body["device_ids"]):
            body["device_ids"] = [self.device(n).device_id for n in range(min(DEVICES, len(body["device_ids"])))]

    def _device_read(self, case: Sent) -> None:
        if self._gives_way(case.path_parameters["device_id"]):
            case.path_parameters["device_id"] = self.device().device_id

    def _retirement(self, case: Sent) -> None:
        given = case.path_parameters["device_id"]
        if given not in self._known or self._lasting(given):
            case.path_parameters["device_id"] = self._spare("device", given, 20, lambda: self.world.device().device_id)

    def _spare(self, kind: str, given: object, uses: int, make: Callable[[], str]) -> str:
        """An id to destroy: one of ours, a new one every few uses, now and then one that does not exist.

        Never the generated one: it may have been read from a list, and be what another process or case relies on.
        """
        if _kept(given):
            return str(uuid.uuid4())
        spare: str = self._once(f"spare {kind} {self._turn(kind) // uses}", make)
        return spare

    def _dispatch_read(self, case: Sent) -> None:
        if self._gives_way(case.path_parameters["request_id"]):
            case.path_parameters["request_id"] = self._once("dispatch to read", self._dispatch)

    def _revocation(self, case: Sent) -> None:
        given = case.path_parameters["token_id"]
        if given not in self._known:
            case.path_parameters["token_id"] = self._spare(
                "token", given, 5, lambda: self.world.enrol_token()["token_id"]
            )

    def _upload(self, case: Sent) -> None:
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
        if "package_name" in case.query and self._gives_way(case.query["package_name"]):
            case.query["package_name"] = PACKAGE_NAME

    def _cursor(self, path: str, case: Sent) -> None:
        # A cursor of the right shape that the service did not give out is refused, and rightly.
        cursor = self._once(f"cursor of {path}", lambda: self.world.cursor(path))
        if cursor is None:
            del case.query["cursor"]
        else:
            case.query["cursor"] = cursor

    def _sign(self, case: Sent) -> None:
        if _spoils_the_signature(case):
            return
        timestamp = str(int(time.time()))
        case.headers["X-Timestamp"] = timestamp
        case.headers["X-Signature"] = self.world.client.sign(timestamp, body_bytes(case))

    # Answers

    def learn(self, operation_id: str, response: Response) -> None:
        """Ids that an answer gave out count as existing from now on."""
        if not 200 <= response.status_code < 300:
            return
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


def _kept(value: object) -> bool:
    """Whether an invented value stays. The value itself decides: equal choices of Hypothesis must fare equally."""
    return zlib.crc32(str(value).encode("utf-8", "replace")) % KEEP_INVENTED_EVERY == 0


def _spoils_the_signature(case: Sent) -> bool:
    """Whether a wrong timestamp or signature is what the case is about."""
    if case.meta is None or case.meta.generation.mode.is_positive:
        return False
    data = case.meta.phase.data
    places = [(data.parameter_location, data.parameter)]
    places += [(mutation.parameter_location, mutation.parameter) for mutation in data.mutations]
    return any(place is ParameterLocation.HEADER and name in SIGNED_HEADERS for place, name in places)


def members(case: Sent) -> dict[str, Any]:
    """The JSON object that is the case's body; an empty one where it is something else."""
    return cast(dict[str, Any], case.body) if isinstance(case.body, dict) else {}


def body_bytes(case: Sent) -> bytes:
    """The body as it will go over the wire."""
    sent = case.as_transport_kwargs(base_url="http://127.0.0.1")
    content = requests.Request("POST", "http://127.0.0.1", json=sent.get("json"), data=sent.get("data")).prepare().body
    return content if isinstance(content, bytes) else str(content or "").encode()
