"""Withdrawals: the dispatches of a device that is retired or enrolled again fail, unless FCM has taken them.

They do so in the transaction that changes the device's row, and after that change: a command holds the row until it is
stored, so it is either there and withdrawn, or meets the changed device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from nexmdm.fleet import dispatch_states, metrics
from nexmdm.fleet.events import DISPATCH_FAIL
from nexmdm.kernel.log import emit

Code = Literal["device_retired", "device_reenrolled"]

_REASONS: Final[Mapping[Code, str]] = {
    "device_retired": "the device was retired before the command was sent",
    "device_reenrolled": "the device was enrolled again before the command was sent",
}


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """The dispatches of a device that were withdrawn, and why."""

    device_id: UUID
    code: Code
    dispatches: list[RowMapping]

    def report(self) -> None:
        """Count and log them, after the commit."""
        metrics.dispatches.labels("failed").inc(len(self.dispatches))
        for dispatch in self.dispatches:
            emit(
                DISPATCH_FAIL,
                "warning",
                dispatch_request_id=dispatch["request_id"],
                device_id=str(self.device_id),
                action=dispatch["action"],
                attempt=dispatch["attempts"],
                http_code=None,
                fcm_code=self.code,
                latency_ms=None,
            )


async def withdraw(session: AsyncSession, device_id: UUID, code: Code) -> Withdrawal:
    """Fail what the device was not yet sent. The session's transaction has changed the device's row."""
    return Withdrawal(device_id, code, await dispatch_states.withdraw(session, device_id, code, _REASONS[code]))
