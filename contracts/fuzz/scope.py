"""What of openapi.yaml a run fuzzes: a service with API keys only where the database is ours to fill."""

from __future__ import annotations

from typing import Final

from harness.http.openapi import Document
from harness.settings import Target

# Tags.
SANDBOXES: Final = ("allocations", "sandbox-pool")
ZONES: Final = ("keys", "zones", "files", "events")
AGENTS: Final = ("agents", "scheduler", "uploads")
MOUNTS: Final = ("mounts", "sync", "bricks")
PLATFORM: Final = (*ZONES, *AGENTS, *MOUNTS)
ASKED_ELSEWHERE: Final = "/api/v2/sync/mounts//push"  # the fuzzer's client sends one slash for two


def left_out(target: Target) -> tuple[str, ...]:
    """The tags that this target cannot be asked for."""
    if not target.database_url:
        return (*SANDBOXES, *PLATFORM)
    return () if target.provider_control_url else SANDBOXES


def document(target: Target) -> Document:
    """openapi.yaml without the operations that are left out, and those that the fuzzer's client would ask elsewhere."""
    whole, tags = Document.read(), set(left_out(target))
    paths = {
        path: {key: part for key, part in item.items() if key == "parameters" or tags.isdisjoint(part.get("tags", ()))}
        for path, item in whole.content["paths"].items()
        if path != ASKED_ELSEWHERE
    }
    return Document({**whole.content, "paths": paths})
