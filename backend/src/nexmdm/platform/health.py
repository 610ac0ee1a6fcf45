"""Whether the service serves, as clients of such platforms ask it."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from nexmdm.kernel.problems import OVERLOADED, answers

router = APIRouter(tags=["operations"])


class Health(BaseModel):
    """It does. Whether the database answers is told by `/healthz` and `/readyz`."""

    status: Literal["healthy"] = "healthy"


@router.get("/health", operation_id="getPlatformHealth", responses=answers(OVERLOADED))
async def get_platform_health() -> Health:
    """Whether the process serves requests; needs no credentials."""
    return Health()
