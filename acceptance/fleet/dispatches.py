"""What a case asks about a dispatch: as the API shows it now, and whether it has come to a status."""

from collections.abc import Callable
from typing import Any

from acceptance.system.api import Api
from acceptance.system.match import accepted


def shown(api: Api, request_id: str) -> dict[str, Any]:
    found: dict[str, Any] = accepted(api.admin("GET", f"/admin/dispatches/{request_id}"))
    return found


def ended(api: Api, request_id: str, status: str) -> Callable[[], bool]:
    def check() -> bool:
        now = shown(api, request_id)["status"]
        assert now == status, f"status {now}, waiting for {status}"
        return True

    return check
