"""Every kind of write, sent so that the ledger knows of it first.

Does not decide when or how often: workload.py does, and a case that wants one of its own.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any

from harness.devices.apk import MEDIA_TYPE, apk
from harness.devices.seeded_fleet import FleetDevice
from harness.http.client import Answer, Client, TransportError
from harness.oracles.broker import EXPIRED
from harness.oracles.history import Ledger
from harness.oracles.zones import Part
from harness.platform.uploads import Upload, create, length, metadata
from harness.platform.zone import Zone


class Writes:
    """One client's writes. Each returns the body of its acknowledgement, else None.

    track_key: an API key that may speak for every track; zone: where files go, as a member sees it.
    """

    def __init__(self, client: Client, ledger: Ledger, track_key: str, zone: Zone) -> None:
        self._client, self._ledger, self._track_key = client, ledger, track_key
        self._zone = Zone(client, zone.key, zone.zone_id)

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

    def file(self, path: str, text: str) -> Any:
        """Write a file of one part."""
        digest = sha256(text.encode()).hexdigest()
        send = partial(self._zone.call, "write", path=path, content=text)
        return self._ledger.write("file", self._zone.zone_id + path, lambda: _of_rpc(send()), lambda _: [digest])

    def begin(self, path: str, size: int) -> Upload | None:
        """Begin an upload; what got no answer cannot be found again."""
        send = partial(create, self._zone, length(size), metadata(path))
        told = self._ledger.write("part", self._zone.zone_id + path, lambda: _of_tus(send()), lambda _: [Part(0, 0)])
        return None if told is None else Upload(self._zone, told["location"])

    def part(self, upload: Upload, path: str, content: bytes, start: int, end: int, *, unsure: bool) -> int | None:
        """Append a part of the content; the offset behind it. unsure: one before may still arrive, and be first."""
        digest = sha256(content).hexdigest() if end >= len(content) else ""
        send = partial(upload.append, content[start:end], start)
        told = self._ledger.write(
            "part",
            self._zone.zone_id + path,
            lambda: _of_tus(send()),
            lambda told: [Part(start, int(told["upload-offset"]), digest)],
            facts={"upload_offset_mismatch": Part(start, start)} if unsure else {},
        )
        return int(told["upload-offset"]) if told and "upload-offset" in told else None

    def offset(self, upload: Upload) -> int | None:
        """How far an upload is; None without an answer."""
        try:
            answer = upload.look()
        except TransportError:
            return None
        return int(answer.headers["upload-offset"]) if answer.status == 200 else None

    def _of(self, track_id: str, path: str) -> Answer:
        return self._client.bearer(self._track_key, "POST", path, headers=[("X-Track-ID", track_id)])

    def _as(self, device: FleetDevice, path: str, body: dict[str, Any]) -> Answer:
        # Not `bearer`: it would have each of a thousand tokens masked, though they share one secret, which is.
        return self._client.request("POST", path, headers=[("Authorization", f"Bearer {device.token}")], json=body)


def _of_rpc(answer: Answer) -> Answer:
    """An error of JSON-RPC as a refusal."""
    error = answer.json().get("error") if answer.status == 200 else None
    return answer if error is None else replace(answer, status=409, body=json.dumps(error["data"]).encode())


def _of_tus(answer: Answer) -> Answer:
    """What the headers of an answer without a body say, as its body."""
    return answer if answer.body else replace(answer, body=json.dumps(dict(answer.headers)).encode())


def new_request_id() -> str:
    return f"chaos-{uuid.uuid4().hex}"


def new_track() -> str:
    return f"track-{uuid.uuid4().hex}"
