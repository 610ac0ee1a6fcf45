"""Rights of the service's database role, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Rights:
    """By table, the rights on it, such as ("SELECT", "UPDATE (a_column)"); functions by signature.

    `owner_functions` are those that only the owner of the schema may call. `background`: of the role that background
    loops take (`BACKGROUND`), which row-level security does not bind to one zone.
    """

    tables: Mapping[str, Sequence[str]] = field(default_factory=dict)
    background: Mapping[str, Sequence[str]] = field(default_factory=dict)
    functions: Sequence[str] = ()
    owner_functions: Sequence[str] = ()


BACKGROUND: Final = "_background"  # the end of that role's name, after the service's own

# Of the kernel's own tables. Locking a row needs UPDATE, so tables that retention empties have it beside DELETE.
KERNEL: Final = Rights(
    {
        "alembic_version": ("SELECT",),
        "api_keys": ("SELECT", "INSERT", "UPDATE (last_used_at)", "UPDATE (revoked_at)"),  # not whose a key is
        "rate_limits": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "scheduled_jobs": ("SELECT", "INSERT", "UPDATE"),
        "signing_keys": ("SELECT",),
    }
)
