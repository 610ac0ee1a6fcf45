"""The steps of a warmup: what each looks at, in the zone of the agent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Final

from pydantic import Field

from nexmdm.http.types import Shape
from nexmdm.platform.call import Call
from nexmdm.platform.object_store import StoreAwayError

_NEEDED_BRICKS: Final = ("agents", "events", "files", "scheduler")
_KEY: Final = """
    SELECT k.revoked_at IS NULL FROM agents AS a JOIN api_keys AS k ON k.name = a.key_name
    WHERE a.zone_id = $1 AND a.agent_id = $2
"""
_UNMOUNTED: Final = "SELECT name FROM bricks WHERE name = ANY ($1::text[]) AND NOT mounted ORDER BY name"


class Step(Shape):
    """A step. An optional one that fails, or that is not known, is skipped."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    timeout_seconds: Annotated[float, Field(ge=0.001, le=300)] = 30
    required: bool = True


class StepFailedError(Exception):
    """A step found something wrong; its text says what."""


async def _load_credentials(call: Call, agent_id: str) -> bool:
    async with call.within() as tx:
        is_good = await tx.fetchval(_KEY, call.zone_id, agent_id)
    if is_good is False:
        raise StepFailedError("the key of the agent is revoked")
    return is_good is not None


async def _verify_bricks(call: Call, _agent_id: str) -> bool:
    async with call.within() as tx:
        unmounted = [row["name"] for row in await tx.fetch(_UNMOUNTED, _NEEDED_BRICKS)]
    if unmounted:
        raise StepFailedError(f"unmounted: {', '.join(unmounted)}")
    return True


async def _reach_storage(call: Call, _agent_id: str) -> bool:
    try:
        await call.platform.contents.probe(call.zone_id, call.caller.zone_uid)
    except (StoreAwayError, FileNotFoundError):
        raise StepFailedError("the object store cannot be written and read") from None
    return True


async def _warm_caches(_call: Call, _agent_id: str) -> bool:
    return False  # nothing is cached


# Each says whether there was something to do.
STEPS: Final[Mapping[str, Callable[[Call, str], Awaitable[bool]]]] = {
    "load_credentials": _load_credentials,
    "verify_bricks": _verify_bricks,
    "reach_storage": _reach_storage,
    "warm_caches": _warm_caches,
}
BY_DEFAULT: Final = [Step(name=name, required=name != "warm_caches") for name in STEPS]


async def take(step: Step, call: Call, agent_id: str) -> bool:
    """Whether the step is completed, and not skipped. StepFailedError: it is required, and failed."""
    act, limit = STEPS.get(step.name), asyncio.timeout(step.timeout_seconds)
    try:
        async with limit:
            return act is not None and await act(call, agent_id)
    except StepFailedError as error:
        reason = str(error)
    except TimeoutError:
        if not limit.expired():  # it is the database that does not answer
            raise
        reason = f"not done within {step.timeout_seconds:g} s"
    if step.required:
        raise StepFailedError(reason)
    return False
