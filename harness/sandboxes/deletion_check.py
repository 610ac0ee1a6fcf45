"""Whether the provider's own record of deletions agrees with the pool: V9. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from harness.sandboxes.faults import Faults, nothing
from harness.verdict.artifacts import timestamp
from harness.verdict.thresholds import Check

V9: Final = ("V9", "the provider was asked to delete what had ended, and was asked for all that is deleted")
_GONE: Final = frozenset({200, 204, 404})  # the answers by which the service knows that a sandbox is gone

Request = Mapping[str, Any]  # as the fake provider tells it


class Deletable(NamedTuple):
    """A sandbox with what the ledger says of it. ended_at: epoch seconds, of an allocation that has ended."""

    sandbox_id: str
    status: str
    track_id: str | None
    ended_at: float | None
    given: bool


def external_id(request: Request) -> str:
    """The external id of the sandbox that a DELETE named."""
    return f"identity/accounts/{request['id']}"


def deletion_check(
    asked: Sequence[Request],
    answered: Sequence[Request],
    known: Mapping[str, Deletable],
    deleted: Iterable[tuple[str, str]],
) -> Check:
    """V9. What the pool does not know (any more) is not judged.

    asked: what the provider had been asked to delete before the pool was read; answered: after it. known: the pool's
    rows by external id. deleted: sandbox id and external id of what the service says it has deleted there.
    """
    faults = Faults()
    for request in asked:
        row = known.get(external_id(request))
        if row is not None and (problem := _too_early(row, request["at"])):
            faults.add(f"sandbox {row.sandbox_id}: DELETE at {timestamp(request['at'])}, and it {problem}")
    gone = {external_id(request) for request in answered if request["status"] in _GONE}
    looked_at = 0
    for sandbox_id, its_id in deleted:
        looked_at += 1
        if its_id not in gone:
            faults.add(f"sandbox {sandbox_id} is deleted, which the provider has never said")
    if not asked and not looked_at:
        return nothing(*V9, "deletion")
    return faults.check(*V9, f"{len(asked):,} requests to the provider, {looked_at:,} deleted sandboxes")


def _too_early(row: Deletable, at: float) -> str:
    if row.status in {"available", "stale"} or not row.given:
        return f"is {row.status} and was never given out"
    if row.track_id is not None and row.ended_at is None:
        return f"is live for {row.track_id}"
    if row.ended_at is not None and row.ended_at > at:
        return f"ended at {timestamp(row.ended_at)}"
    return ""
