"""FCM tokens: at most one device has a live one. The newest that brings it gets it; the older one's is marked dead.

The unique index decides between rivals: who loses takes the token from the winner. Rows are locked in the order of
device_id, as by all who lock several.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, not_, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from nexmdm.fleet import metrics
from nexmdm.fleet.events import FCM_TOKEN_MOVED
from nexmdm.fleet.tables.devices import ONE_OWNER, Device
from nexmdm.kernel.database import Database
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import OVERLOADED, Problem

_MOST_RIVALS: Final = 50  # each lost race is one that another has won
_DEAD: Final = {"fcm_token_dead_at": func.now(), "updated_at": func.greatest(func.now(), col(Device.registered_at))}

T = TypeVar("T")


async def give(
    session: AsyncSession, token: str | None, device: ColumnElement[bool], store: Callable[[], Awaitable[T]]
) -> tuple[T, UUID | None]:
    """Have `store` write the token into the row of `device`, in the session's transaction; who had it alive loses it.

    Returns: what `store` gave, and the device that has lost the token. Report that one after the commit.

    Raises:
        Problem: `overloaded` where race upon race for the token was lost.
    """
    if token is None:
        return await store(), None
    has_it = _has_alive(token)
    locked = select(col(Device.device_id)).where(or_(device, has_it)).order_by(col(Device.device_id))
    loss = update(Device).where(has_it, not_(device)).values(**_DEAD).returning(col(Device.device_id))
    for _ in range(_MOST_RIVALS):
        try:
            async with session.begin_nested():
                await session.execute(locked.with_for_update(key_share=True))
                loser = (await session.execute(loss)).scalar()
                return await store(), loser
        except IntegrityError as error:
            if getattr(getattr(error.orig, "__cause__", None), "constraint_name", None) != ONE_OWNER:
                raise
    raise Problem(OVERLOADED)


def report_moved(device_id: UUID, loser: UUID | None) -> None:
    """Count and log that a device has taken its token from another, if it has."""
    if loser is not None:
        metrics.fcm_tokens_moved.inc()
        emit(FCM_TOKEN_MOVED, "warning", device_id=str(device_id), from_device_id=str(loser))


async def mark_dead(db: Database, device_id: UUID, token: str) -> None:
    """Record that FCM knows the token no more, unless the device has another by now."""
    death = update(Device).where(col(Device.device_id) == device_id, _has_alive(token)).values(**_DEAD)
    await db.run(death)


def _has_alive(token: str) -> ColumnElement[bool]:
    return and_(col(Device.fcm_token) == token, col(Device.fcm_token_dead_at).is_(None))
