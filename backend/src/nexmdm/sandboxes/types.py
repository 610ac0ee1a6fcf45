"""The vocabulary of the broker: states, ways to end, ids."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, StringConstraints

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


def _unix(moment: object) -> object:
    return int(moment.timestamp()) if isinstance(moment, datetime) else moment


UnixTime = Annotated[int, BeforeValidator(_unix)]  # whole seconds since 1970, as the seed's clients expect times

SYNC_CHANGES: Final = ("added", "revived", "changed", "stale", "skipped")
SYNC_OUTCOMES: Final = ("completed", "failed", "refused", "implausible", "superseded")
DELETIONS: Final = ("deleted", "failed", "gave_up", "refused", "rate_limited", "lost")
