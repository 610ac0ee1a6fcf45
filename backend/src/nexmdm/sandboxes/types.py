"""The vocabulary of the broker: states, ways to end, ids."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import StringConstraints

SandboxStatus = Literal["available", "allocated", "pending_deletion", "deleting", "deletion_failed", "stale", "deleted"]
EndReason = Literal["released", "expired", "revoked"]

STATUSES: Final[tuple[SandboxStatus, ...]] = (
    "available",
    "allocated",
    "pending_deletion",
    "deleting",
    "deletion_failed",
    "stale",
    "deleted",
)
END_REASONS: Final[tuple[EndReason, ...]] = ("released", "expired", "revoked")
OUTCOMES: Final = ("new", "replay", "exhausted", "contended", "ended", "error")

SANDBOX_ID: Final = "[A-Za-z0-9._-]{1,64}"
SandboxId = Annotated[str, StringConstraints(pattern=f"^{SANDBOX_ID}$")]
