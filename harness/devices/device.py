"""One simulated device, for acceptance and load alike: it enrols, fetches the APK, sends heartbeats, reports results.

It judges nothing and keeps no schedule: every call returns the Answer, refusals included, and time is the
caller's. Safe under gevent and threads when its transport is; one device may have several calls in flight.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from typing import Any

from harness.http.client import Answer, Client, Transport, TransportError
from harness.verdict.artifacts import Moment, Timeline

# What happens to a device in the order in which it should; the columns of timelines.csv.
MILESTONES = ("apk_downloaded", "registered", "heartbeat", "command", "message", "result")

_MODELS = (("Samsung", "SM-A546B", "14", 34), ("Google", "Pixel 8", "15", 35), ("Lenovo", "TB-X606F", "10", 29))
_BASE62 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class Device:
    """A device with an alias. `device_id` and `token` are None until it has enrolled."""

    def __init__(
        self,
        transport: Client | Transport | str,
        alias: str,
        *,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """transport: a client (its record then shows this device's calls), a bare transport, or a base URL.

        rng: source of hardware facts and vitals; by default it depends on the alias alone. clock: epoch seconds.
        """
        self.client = transport if isinstance(transport, Client) else Client(transport)
        self.alias = alias
        self.device_id: str | None = None
        self.token: str | None = None
        self.moments: list[Moment] = []
        self._rng = rng or random.Random(alias)  # noqa: S311  # vitals are no secret
        self._clock = clock
        self._booted_at = clock()
        self._calls = itertools.count(1)
        manufacturer, model, android, sdk = self._rng.choice(_MODELS)
        self.facts: dict[str, Any] = {
            "agent_version": "1.4.2",
            "fcm_token": "sim:" + "".join(self._rng.choices(_BASE62, k=140)),
            "manufacturer": manufacturer,
            "model": model,
            "serial": f"R{self._rng.randrange(16**10):010X}",
            "android_version": android,
            "sdk_int": sdk,
        }

    @property
    def fcm_token(self) -> str:
        return str(self.facts["fcm_token"])

    @property
    def timeline(self) -> Timeline:
        return Timeline(self.alias, self.device_id, tuple(self.moments))

    def note(self, event: str, at: float | None = None, **extra: Any) -> None:
        """Put something on the timeline that others did: a command sent, a message delivered."""
        self.moments.append(Moment(event, self._clock() if at is None else at, **extra))

    def download_apk(self, token: str, **params: Any) -> Answer:
        """GET /v1/apk/download-latest with an enrolment token; params: package_name, build_type."""
        return self._call("apk_downloaded", token, "GET", "/v1/apk/download-latest", params=params)

    def enrol(self, token: str, **facts: Any) -> Answer:
        """POST /v1/register with an enrolment token. A fact given here replaces the own one; None leaves it out."""
        self.facts |= {name: value for name, value in facts.items() if name in self.facts and value is not None}
        body = _body({"alias": self.alias, **self.facts, **facts})
        answer = self._call("registered", token, "POST", "/v1/register", json=body)
        if answer.status == 200:
            registered = answer.json()
            self.device_id, self.token = registered["device_id"], registered["device_token"]
        return answer

    def heartbeat(self, **fields: Any) -> Answer:
        """POST /v1/heartbeat with plausible vitals. A field given here replaces one of them; None leaves it out."""
        body = _body({**self.vitals(), **fields})
        return self._call("heartbeat", self._own_token(), "POST", "/v1/heartbeat", json=body)

    def complete(self, request_id: str, outcome: str = "ok", **fields: Any) -> Answer:
        """POST /v1/action-result for the dispatch `request_id`. Fields: message, finished_at, data."""
        body = _body({"request_id": request_id, "outcome": outcome, **fields})
        event = "result_repeated" if any(moment.event == "result" for moment in self.moments) else "result"
        return self._call(event, self._own_token(), "POST", "/v1/action-result", json=body)

    def vitals(self) -> dict[str, Any]:
        """Every field of a heartbeat, as a device on a desk would report it now."""
        rng = self._rng
        return {
            "status": "ok",
            "battery_pct": rng.randint(20, 100),
            "plugged": rng.random() < 0.3,
            "temp_c": round(rng.uniform(24.0, 41.0), 1),
            "network_type": rng.choice(("wifi", "cellular")),
            "signal_dbm": rng.randint(-95, -40),
            "uptime_s": 3600 + int(self._clock() - self._booted_at),
            "ram_used_mb": rng.randint(900, 3500),
            "unity_pkg_version": "2.7.0",
            "unity_running": True,
            "agent_version": self.facts["agent_version"],
        }

    def _own_token(self) -> str:
        if self.token is None:
            raise RuntimeError(f"{self.alias} has not enrolled")
        return self.token

    def _call(self, event: str, token: str, method: str, path: str, **request: Any) -> Answer:
        # The number makes every call of a device findable in the log; the alias says whose it was.
        request_id = f"{self.alias[:48]}-{next(self._calls):04d}"
        try:
            answer = self.client.bearer(token, method, path, request_id=request_id, **request)
        except TransportError as error:
            self.note(f"{event}_failed", request_id=request_id, detail=str(error)[:200])
            raise
        reached = event if answer.status == 200 else f"{event}_failed"
        self.note(reached, status=answer.status, request_id=request_id)
        return answer


def _body(fields: dict[str, Any]) -> dict[str, Any]:
    """Absent, never null: the contract's optional fields are not nullable."""
    return {name: value for name, value in fields.items() if value is not None}
