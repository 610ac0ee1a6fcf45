"""What of a zone is asked for and shown: its limits, its usage, its phase."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import asyncpg
import orjson
from pydantic import BaseModel, ConfigDict, Field

from nexmdm.http.types import FREE_TEXT, Maybe, Shape, Whole
from nexmdm.platform.types import LIMITS, USAGE, Phase, ZoneId

Text = Annotated[str, Field(pattern=FREE_TEXT, max_length=1024)]
Owner = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Amount = Annotated[int, Whole(0, 2**63 - 1)]


class Limits(Shape):
    """Each null is unlimited; what is left out stays as it is."""

    max_storage_bytes: Amount | None = None
    max_files: Amount | None = None
    max_agents: Amount | None = None
    max_tasks_queued: Amount | None = None
    max_uploads_open: Amount | None = None


class NewZone(Shape):
    """A zone to be made; its id is drawn where none is given."""

    zone_id: Maybe[ZoneId] = None
    name: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")]
    domain: Maybe[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$")]] = None
    description: Maybe[Text] = None
    owner: Maybe[Owner] = None
    limits: Maybe[Limits] = None


class ZoneChanges(Shape):
    """At least one of them."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    limits: Maybe[Limits] = None
    owner: Maybe[Owner] = None


class AllLimits(BaseModel):
    """All five; null is unlimited."""

    max_storage_bytes: int | None
    max_files: int | None
    max_agents: int | None
    max_tasks_queued: int | None
    max_uploads_open: int | None


class Usage(BaseModel):
    """What is used of each limit."""

    max_storage_bytes: int
    max_files: int
    max_agents: int
    max_tasks_queued: int
    max_uploads_open: int


class Finalizer(BaseModel):
    """A step of a zone's deletion, and how much it has removed."""

    name: str
    removed: int
    done: bool


class ZoneView(BaseModel):
    """A zone. `status` is its phase under the name that older clients know."""

    zone_id: str
    name: str
    domain: str | None
    description: str | None
    owner: str | None
    phase: Phase
    status: Phase
    finalizers: list[Finalizer]
    created_at: datetime
    updated_at: datetime
    limits: AllLimits
    usage: Usage


class Zones(BaseModel):
    """A page. `next_cursor` is null on the last; `total` is of all that the caller may see."""

    zones: list[ZoneView]
    total: int
    next_cursor: str | None


def view(row: asyncpg.Record) -> ZoneView:
    """A row of `zones`, with its finalizers where it has any."""
    return ZoneView.model_validate(
        dict(row)
        | {
            "status": row["phase"],
            "finalizers": orjson.loads(row["finalizers"]) if "finalizers" in row else [],
            "limits": {limit: row[limit] for limit in LIMITS},
            "usage": {limit: row[column] for limit, column in USAGE.items()},
        }
    )
