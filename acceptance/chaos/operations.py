"""Every kind of write, sent so that the ledger knows of it first.

Does not decide when or how often: workload.py does, and a case that wants one of its own.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from harness.devices.apk import MEDIA_TYPE, apk
from harness.devices.seeded_fleet import FleetDevice
from harness.http.client import Answer, Client
from harness.oracles.broker import EXPIRED
from harness.oracles.history import Ledger


class Writes:
    """One client's writes. Each returns the body of its acknowledgement, else None.

    track_key: an API key that may speak for every track.
    """

    def __init__(self, client: Client, ledger: Ledger, track_key: str) -> None:
        self._client, self._ledger, self._track_key = client, ledger, track_key

    def beat(self, device: FleetDevice, **fields: Any) -> Any:
        send = partial(self._as, device, "/v1/heartbeat", {"status": "ok", "battery_pct": 80, **fields})
        return self._ledger.write(
            "heartbeat", device.device_id, send, lambda answer: [] if answer["deduplicated"] else ["ingested"]
        )

    def complete(self, device: FleetDevice, request_id: str) -> Any:
        send = partial(self._as, device, "/v1/action-result", {"request_id": request_id, "outcome": "ok"})
        return self._ledger.write(
            "result", request_id, send, lambda answer: [datetime.fromisoformat(answer["completed_at"])]
        )

    def command(self, devices: Sequence[FleetDevice], request_id: str) -> Any:
        ids = [device.device_id for device in devices]
        to: dict[str, Any] = {"device_id": ids[0]} if len(ids) == 1 else {"device_ids": ids}
        send = partial(self._client.command, {"request_id": request_id, "action": "ping", **to})
        return self._ledger.write(
            "command", request_id, send, lambda answer: [one["request_id"] for one in answer["dispatches"]]
        )

    def token(self, alias: str) -> Any:
        send = partial(self._client.admin, "POST", "/v1/enroll-tokens", json={"aliases": [alias]})
        return self._ledger.write("token", alias, send, lambda answer: [answer["tokens"][0]["token_id"]])

    def revoke(self, token_id: str) -> Any:
        send = partial(self._client.admin, "DELETE", f"/v1/enroll-tokens/{token_id}")
        return self._ledger.write("revocation", token_id, send)

    def register(self, alias: str, token: str) -> Any:
        body = {"agent_version": "1.4.2", "alias": alias, "fcm_token": f"chaos:{alias}"}
        send = partial(self._client.bearer, token, "POST", "/v1/register", json=body)
        return self._ledger.write("registration", alias, send, lambda answer: [answer["device_id"]])

    def retire(self, device_id: str) -> Any:
        send = partial(self._client.admin, "DELETE", f"/v1/devices/{device_id}")
        return self._ledger.write("retirement", device_id, send)

    def upload(self, package: str, code: int) -> Any:
        send = partial(
            self._client.admin,
            "POST",
            "/v1/apk/builds",
            content=apk(2000),
            headers={"Content-Type": MEDIA_TYPE},
            params={"package_name": package, "version_code": code, "version_name": "1.0.0"},
        )
        return self._ledger.write("upload", f"{package} {code}", send, lambda answer: [answer["sha256"]])

    def allocate(self, track_id: str) -> Any:
        """Ask for the track's sandbox. Its repeats are the same write: each must be told the same."""
        return self._ledger.write(
            "allocation",
            track_id,
            partial(self._of, track_id, "/v1/allocate"),
            lambda answer: [(answer["sandbox_id"], answer["allocated_at"])],
        )

    def release(self, track_id: str, sandbox_id: str) -> Any:
        """Give it back. Who comes too late is told so, which has to be true."""
        return self._ledger.write(
            "release",
            sandbox_id,
            partial(self._of, track_id, f"/v1/sandboxes/{sandbox_id}/mark-for-deletion"),
            lambda answer: [answer["deletion_requested_at"]],
            facts={"allocation_expired": EXPIRED},
        )

    def _of(self, track_id: str, path: str) -> Answer:
        return self._client.bearer(self._track_key, "POST", path, headers=[("X-Track-ID", track_id)])

    def _as(self, device: FleetDevice, path: str, body: dict[str, Any]) -> Answer:
        # Not `bearer`: it would have each of a thousand tokens masked, though they share one secret, which is.
        return self._client.request("POST", path, headers=[("Authorization", f"Bearer {device.token}")], json=body)


def new_request_id() -> str:
    return f"chaos-{uuid.uuid4().hex}"


def new_track() -> str:
    return f"track-{uuid.uuid4().hex}"
