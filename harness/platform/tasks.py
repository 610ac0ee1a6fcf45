"""The tasks of a zone as one caller sees them: as their owner, and as an executor that claims them."""

from __future__ import annotations

from typing import Any

from harness.http.client import Answer
from harness.platform.zone import Zone

SCHEDULER = "/api/v2/scheduler"
LONG_S = 3600  # a lease that ends after the run


class Tasks:
    """What returns an Answer judges nothing."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone

    def submit(self, executor: str = "worker", task_type: str = "render", **fields: Any) -> Answer:
        body = {"executor": executor, "task_type": task_type, **fields}
        return self._post("submit", body)

    def classify(self, **fields: Any) -> Answer:
        return self._post("classify", fields)

    def claim(self, executor: str = "worker", *, lease_s: float = LONG_S, **fields: Any) -> Answer:
        return self._post("claim", {"executor": executor, "lease_s": lease_s, **fields})

    def look(self, task_id: str) -> Answer:
        return self.zone.request("GET", f"{SCHEDULER}/task/{task_id}")

    def heartbeat(self, lease: dict[str, Any]) -> Answer:
        return self._of_lease("heartbeat", lease)

    def complete(self, lease: dict[str, Any], **fields: Any) -> Answer:
        return self._of_lease("complete", lease, **fields)

    def fail(self, lease: dict[str, Any], error: str = "it did not work", **fields: Any) -> Answer:
        return self._of_lease("fail", lease, error=error, **fields)

    def cancel(self, task_id: str) -> Answer:
        return self.zone.request("POST", f"{SCHEDULER}/task/{task_id}/cancel")

    def metrics(self) -> Answer:
        return self.zone.request("GET", f"{SCHEDULER}/metrics")

    def _of_lease(self, action: str, lease: dict[str, Any], **fields: Any) -> Answer:
        """lease: a task as a claim has given it out."""
        return self._post(f"task/{lease['id']}/{action}", {"lease_token": lease["lease_token"], **fields})

    def _post(self, path: str, body: dict[str, Any]) -> Answer:
        return self.zone.request("POST", f"{SCHEDULER}/{path}", json=body)
