"""What is asked of agents: the parameters of their methods, bounded in number and length."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nexmdm.http.types import FREE_TEXT, Maybe, Shape, Whole
from nexmdm.platform.types import AGENT_ID, AgentState

AgentId = Annotated[str, Field(pattern=f"^{AGENT_ID}$")]
Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")]
Text = Annotated[str, Field(pattern=FREE_TEXT, max_length=1024)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$")]
Capabilities = Annotated[list[Label], Field(max_length=64)]
Metadata = Annotated[
    dict[Annotated[str, Field(pattern=r"^[^\x00]{1,64}$")], Text | bool | int | float | None],
    Field(max_length=64, json_schema_extra={"additionalProperties": False}),
]
SafeCount = Annotated[int, Whole(0, 2**53)]  # which every client can tell from the next


class NewAgent(Shape):
    """An agent to be registered; on demand with a key that speaks for it."""

    agent_id: AgentId
    name: Name
    description: Maybe[Text] = None
    capabilities: Maybe[Capabilities] = None
    metadata: Maybe[Metadata] = None
    generate_api_key: Maybe[bool] = None


class AgentChanges(Shape):
    """What is given replaces what is there."""

    agent_id: AgentId
    name: Maybe[Name] = None
    description: Maybe[Text] = None
    capabilities: Maybe[Capabilities] = None
    metadata: Maybe[Metadata] = None


class OneAgent(Shape):
    """An agent of the zone."""

    agent_id: AgentId


class Listed(Shape):
    """By default those of the caller's zone, in any state."""

    zone_id: Maybe[Annotated[str, Field(max_length=63)]] = None
    state: Maybe[AgentState] = None


class ListedByZone(Shape):
    """Those of a zone."""

    zone_id: Annotated[str, Field(max_length=63)]
    state: Maybe[AgentState] = None


class Transition(Shape):
    """`expected_generation`: of the session that is meant."""

    agent_id: AgentId
    target_state: AgentState
    expected_generation: Maybe[SafeCount] = None


class Usage(Shape):
    """What is left out stays as it is."""

    tokens_used: Maybe[SafeCount] = None
    storage_used_mb: Maybe[SafeCount] = None
    context_usage_pct: Maybe[Annotated[float, Field(ge=0, le=100)]] = None


class Heartbeat(Shape):
    """`generation`: of the session; `observed_generation`: of the spec that the agent works by."""

    agent_id: AgentId
    generation: Maybe[SafeCount] = None
    usage: Maybe[Usage] = None
    observed_generation: Maybe[SafeCount] = None
