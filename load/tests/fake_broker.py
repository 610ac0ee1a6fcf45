"""A broker in memory, as a transport: enough for students to be simulated against, and breakable. It checks nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from harness.http.transport import Answer, Params, TransportError


class Broker:
    """Implements harness.http.transport.Transport; `faults` names what it does wrong."""

    base_url = "http://127.0.0.1:1"

    def __init__(self, *faults: str) -> None:
        self.faults = set(faults)
        self.free: list[str] = []
        self.live: dict[str, dict[str, Any]] = {}  # by track
        self.ended = 0
        self.outcomes: Counter[str] = Counter()

    def seed(self, _database_url: str, label: str, count: int) -> None:
        """As harness.sandboxes.seeding has it."""
        self.free = [f"load-{label}-{n}" for n in range(count)]

    def send(
        self,
        method: str,  # noqa: ARG002  # the protocol's
        path: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        content: bytes | None = None,  # noqa: ARG002  # the protocol's
        params: Params | None = None,  # noqa: ARG002  # the protocol's
    ) -> Answer:
        given = {name.lower(): value for name, value in headers}
        status, body, more = self._answer(path, given.get("x-track-id", ""), given.get("x-instruqt-track-id"))
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Answer(status, more, raw, 1.0, None)

    def _answer(self, path: str, track: str, lab: str | None) -> tuple[int, Any, dict[str, str]]:
        if path == "/metrics":
            lines = (f'nexmdm_sandboxes_allocations_total{{outcome="{n}"}} {v}\n' for n, v in self.outcomes.items())
            return 200, "".join(lines).encode(), {}
        if path == "/v1/admin/stats":
            counts = {"available": len(self.free), "allocated": len(self.live), "pending_deletion": self.ended}
            return 200, counts | {"by_track_name": {}}, {}
        if path == "/v1/allocate":
            return self._allocate(track, lab)
        held = self.live[track]
        if path.endswith("/mark-for-deletion"):
            self.ended += 1
            del self.live[track]
            done = {"sandbox_id": held["sandbox_id"], "status": "pending_deletion", "deletion_requested_at": 1}
            return 200, done, {}
        if path.endswith("/extend"):
            held["expires_at"] += -5 if "extends backwards" in self.faults else 5
        shown = held | ({"sandbox_id": "another"} if "shows another" in self.faults else {})
        return 200, shown | {"status": "allocated"}, {}

    def _allocate(self, track: str, lab: str | None) -> tuple[int, Any, dict[str, str]]:
        if "dead" in self.faults:
            raise TransportError("connection refused")
        if track in self.live and "forgets" not in self.faults:
            self.outcomes["replay"] += 1
            return 200, self.live[track], {} if "unmarked" in self.faults else {"idempotent-replay": "true"}
        if not self.free or "always empty" in self.faults:
            self.outcomes["exhausted"] += 1
            after = {} if "no retry-after" in self.faults else {"retry-after": "30"}
            return 409, {"code": "no_sandboxes_available"}, after
        if "overloaded" in self.faults:
            return 503, {"code": "allocation_contended"}, {}
        sandbox = self.free[0] if "gives twice" in self.faults else self.free.pop()
        times = {"allocated_at": 1000, "expires_at": 2000}
        named = {"sandbox_id": sandbox, "name": sandbox, "external_id": f"identity/accounts/{sandbox}"}
        self.live[track] = named | times | {"track_name": lab}
        self.outcomes["new"] += "counts nothing" not in self.faults
        return 201, self.live[track], {}
