"""What of openapi.yaml a run fuzzes: the sandbox broker only where database and provider are ours to fill."""

from __future__ import annotations

from typing import Final

from harness.http.openapi import Document
from harness.settings import Target

SANDBOXES: Final = ("allocations", "sandbox-pool")  # tags


def left_out(target: Target) -> tuple[str, ...]:
    """The tags that this target cannot be asked for."""
    return () if target.database_url and target.provider_control_url else SANDBOXES


def document(target: Target) -> Document:
    """openapi.yaml without the operations that are left out."""
    whole, tags = Document.read(), set(left_out(target))
    paths = {
        path: {key: part for key, part in item.items() if key == "parameters" or tags.isdisjoint(part.get("tags", ()))}
        for path, item in whole.content["paths"].items()
    }
    return Document({**whole.content, "paths": paths})
