"""A backend in memory, as a transport: enough to simulate against, and breakable. It checks nothing."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from harness.devices.seeded_fleet import FleetDevice
from harness.http.transport import Answer, Params, TransportError

ADMIN_KEY = "admin-key-0123456789"


class StandIn:
    """Implements harness.http.transport.Transport; `faults` names what it does wrong."""

    base_url = "http://127.0.0.1:1"

    def __init__(self, bucket_s: float, *faults: str) -> None:
        self.bucket_s, self.faults = bucket_s, set(faults)
        self.devices: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, str] = {}
        self.beats: Counter[tuple[str, int]] = Counter()
        self.dispatches: dict[str, dict[str, Any]] = {}
        self.messages: list[dict[str, Any]] = []
        self.counters: Counter[str] = Counter()
        self.apk = b""
        self.numbers = itertools.count(1)

    def send(
        self,
        method: str,  # noqa: ARG002  # the protocol's
        path: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        content: bytes | None = None,
        params: Params | None = None,  # noqa: ARG002  # the protocol's
    ) -> Answer:
        if "dead" in self.faults:
            raise TransportError("connection refused")
        given = {name.lower(): value for name, value in headers}
        body = json.loads(content) if content and given.get("content-type") == "application/json" else None
        name = path.rsplit("/", 1)[-1].replace("-", "_").replace(".", "_")
        status, answer = getattr(self, f"_{name}")(body, given.get("authorization", "").removeprefix("Bearer "))
        if name == "builds":
            self.apk = content or b""
        raw = json.dumps(answer).encode() if isinstance(answer, dict) else answer
        return Answer(status, {}, raw, 1.0, given.get("x-request-id"))

    def inbox(self, *, after: int = 0, wait_s: float = 0.0) -> list[dict[str, Any]]:  # noqa: ARG002  # FcmControl's
        """As FcmControl has it, without waiting."""
        return [message for message in self.messages if message["seq"] > after]

    def seed(self, _database_url: str, count: int) -> list[FleetDevice]:
        """As harness.devices.seeded_fleet has it."""
        fleet = [
            FleetDevice(f"0193a1b2-0000-7000-8000-{n:012d}", f"F{n}", f"nxd_f{n}".ljust(91, "y"), f"fleet:{n}")
            for n in range(count)
        ]
        self.devices |= {one.token: {"device_id": one.device_id, "fcm": one.fcm_token} for one in fleet}
        return fleet

    def _count(self, name: str) -> None:
        self.counters[name] += 1

    def _enroll_tokens(self, body: Any, _: str) -> tuple[int, Any]:
        if "refuses tokens" in self.faults:
            return 500, {}
        items = [{"alias": alias, "token": f"nxe_{alias}".ljust(47, "x")} for alias in body["aliases"]]
        self.tokens |= {item["token"]: item["alias"] for item in items}
        self.counters["nexmdm_enroll_tokens_issued_total"] += len(items)
        return 200, {"tokens": items}

    def _enroll_sh(self, _body: Any, _token: str) -> tuple[int, Any]:
        token = next(iter(self.tokens)) if "token in script" in self.faults else ""
        return 200, f"#!/bin/sh\n{token}".encode()

    def _builds(self, _body: Any, _token: str) -> tuple[int, Any]:
        return 201, {}

    def _download_latest(self, _body: Any, _token: str) -> tuple[int, Any]:
        self._count('nexmdm_apk_downloads_total{source="enrollment"}')
        return 200, self.apk if "spoils the APK" not in self.faults else self.apk[:-1]

    def _register(self, body: Any, token: str) -> tuple[int, Any]:
        if "refuses one" in self.faults and body["alias"].startswith("D02"):
            return 503, {}
        number = next(self.numbers)
        device_id = f"0193a1b2-0000-7000-8000-{number:012d}"
        view = {"device_id": device_id, "alias": self.tokens[token], "status": "active", "last_status": None}
        self.devices[f"nxd_{number}".ljust(91, "y")] = {**view, "fcm": body["fcm_token"]}
        self._count("nexmdm_registrations_total")
        return 200, {"device_id": device_id, "device_token": f"nxd_{number}".ljust(91, "y")}

    def _heartbeat(self, _body: Any, token: str) -> tuple[int, Any]:
        if "no heartbeats" in self.faults:
            return 500, {}
        device = self.devices[token]
        pair = (device["device_id"], math.floor(time.time() / self.bucket_s))
        duplicate = pair in self.beats and "no dedupe" not in self.faults
        self.beats[pair] += 1
        device["last_status"] = "ok"
        self._count(f'nexmdm_heartbeats_total{{result="{"deduplicated" if duplicate else "ingested"}"}}')
        return 200, {"ok": True, "deduplicated": duplicate}

    def _command(self, body: Any, _: str) -> tuple[int, Any]:
        wanted = body.get("device_ids") or [body["device_id"]]
        known = {view["device_id"]: view["fcm"] for view in self.devices.values()}
        return 200, {"dispatches": [self._dispatch(body.get("request_id"), one, known[one]) for one in wanted]}

    def _dispatch(self, command: str | None, device_id: str, fcm_token: str) -> dict[str, Any]:
        request_id = f"cmd_{next(self.numbers)}"
        at = "2026-11-20T10:00:00Z"
        view = {"request_id": request_id, "device_id": device_id, "status": "sent", "outcome": None}
        view["command_request_id"] = command or request_id
        self.dispatches[request_id] = {**view, "created_at": at, "sent_at": at}
        lost = "loses a message" in self.faults and fcm_token.endswith(":3")
        for _message in range(0 if lost else 2 if "double send" in self.faults else 1):
            data = {"request_id": request_id}
            message = {"seq": len(self.messages) + 1, "at": time.time(), "token": fcm_token, "data": data}
            self.messages.append({**message, "message_id": "m", "status": 200})
        self._count('nexmdm_dispatches_total{status="sent"}')
        return {**view, "status": "queued"}

    def _action_result(self, body: Any, _: str) -> tuple[int, Any]:
        if "refuses results" in self.faults:
            return 503, {}
        dispatch = self.dispatches[body["request_id"]]
        replayed = dispatch["status"] == "completed"
        dispatch.update(status="completed", outcome="ok")
        self._count(f'nexmdm_action_results_total{{replayed="{str(replayed).lower()}"}}')
        if not replayed:
            self._count('nexmdm_dispatches_total{status="completed"}')
        return 200, {"request_id": body["request_id"], "completed_at": "2026-11-20T10:00:02Z", "replayed": replayed}

    def _devices(self, _body: Any, _token: str) -> tuple[int, Any]:
        return 200, {"items": list(self.devices.values()), "next_cursor": None}

    def _dispatches(self, _body: Any, _token: str) -> tuple[int, Any]:
        return 200, {"items": list(self.dispatches.values()), "next_cursor": None}

    def _metrics(self, _body: Any, _token: str) -> tuple[int, Any]:
        return 200, "".join(f"{name} {value}\n" for name, value in self.counters.items()).encode()
