"""What a generated case of the sandbox broker lacks: a track that is named, a sandbox that is as it should be.

As test_data.py, whose part it is, it judges no answer.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Final

from schemathesis.core.transport import Response

from contracts.fuzz.cases import Sent, in_scenario, kept
from contracts.fuzz.world import World
from harness.api_keys import Role

TRACK_HEADER: Final = "X-Instruqt-Sandbox-ID"  # the one that wins
TRACK_HEADERS: Final = (TRACK_HEADER, "X-Track-ID")


class SandboxSupplies:
    """Everything is made on first use. `once`: makes a thing of this name the first time."""

    def __init__(self, world: World, once: Callable[[str, Callable[[], Any]], Any]) -> None:
        self._world, self._once = world, once
        self._owners: dict[str, str] = {}  # of sandboxes: the track
        self.supply: dict[str, Callable[[Sent], None]] = {
            "allocateSandbox": self._allocation,
            "getCurrentAllocation": self._current,
            "getSandbox": self._owned("to keep"),
            "extendSandbox": self._owned("to keep"),
            "releaseSandbox": self._owned("to release"),
            "listSandboxes": self._list,
            "revokeSandbox": self._mine(lambda: self._allocate(f"contract-{uuid.uuid4()}")),
            "retrySandboxDeletion": self._mine(world.undeletable),
            "getSandboxUsage": _some_days,
        }

    def credential(self, scheme: str) -> tuple[str, str] | None:
        """Header and value of a key of the scheme; None where the scheme is none of the broker's."""
        if scheme not in ("trackKey", "apiKey"):
            return None
        return "Authorization", f"Bearer {self._key('track' if scheme == 'trackKey' else 'admin')}"

    def _key(self, role: Role) -> str:
        key: str = self._once(f"{role} key", lambda: self._world.api_key(role))
        return key

    def _allocated(self, use: str) -> str:
        """The sandbox of a track of ours; one for each use."""
        sandbox_id: str = self._once(f"sandbox {use}", lambda: self._allocate(f"contract-{uuid.uuid4()}"))
        return sandbox_id

    def _allocate(self, track: str) -> str:
        sandbox_id = self._world.sandbox(self._key("track"), {TRACK_HEADER: track})
        self._owners[sandbox_id] = track
        return sandbox_id

    def _allocation(self, case: Sent) -> None:
        self._world.stock()
        if in_scenario(case):  # what a later step does to it is nobody else's
            _name(case, f"scenario-{uuid.uuid4()}")
        _name_somebody(case)

    def _current(self, case: Sent) -> None:
        if not kept(case, [case.headers.get(name) for name in TRACK_HEADERS]):
            _name(case, self._owners[self._allocated("to keep")])
        _name_somebody(case)

    def _owned(self, use: str) -> Callable[[Sent], None]:
        def supply(case: Sent) -> None:
            given = case.path_parameters["sandbox_id"]
            if given not in self._owners and not kept(case, given):
                given = case.path_parameters["sandbox_id"] = self._allocated(use)
            if given in self._owners:
                _name(case, self._owners[given])
            _name_somebody(case)

        return supply

    def _mine(self, make: Callable[[], str]) -> Callable[[Sent], None]:
        """A new one each time: it is in that state once."""

        def supply(case: Sent) -> None:
            if not kept(case, case.path_parameters):
                case.path_parameters["sandbox_id"] = make()

        return supply

    def _list(self, case: Sent) -> None:
        if in_scenario(case):  # later steps follow what is listed
            case.query.clear()
        elif "cursor" in case.query:
            self._world.stock()
            key = self._key("admin")
            case.query["cursor"] = self._once("cursor", lambda: self._world.cursor("/v1/admin/sandboxes", key))

    def learn(self, case: Sent, response: Response) -> None:
        """Whose a sandbox is, from the answer that gave it."""
        track = next((name for header in TRACK_HEADERS if (name := case.headers.get(header, "").strip())), None)
        if track is not None:
            self._owners[response.json()["sandbox_id"]] = track


def _name(case: Sent, track: str) -> None:
    case.headers[TRACK_HEADER] = track


def _some_days(case: Sent) -> None:
    """No schema says that the first day stands before the last, nor how long."""
    case.query |= {"from": "2026-11-01", "to": "2026-11-30"}


def _name_somebody(case: Sent) -> None:
    """No schema says that one of two headers has to be there."""
    if not any(case.headers.get(header, "").strip() for header in TRACK_HEADERS):
        _name(case, "somebody")
