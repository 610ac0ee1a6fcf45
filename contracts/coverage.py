"""Operation x status over the fuzzer and the curated cases, for coverage.json. It judges no gap: others see more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts.fuzz.tally import Tally
from contracts.spec import Document

Seen = Mapping[str, Mapping[str, int]]


def matrix(document: Document, tally: Tally | None, curated: Mapping[str, Seen]) -> dict[str, Any]:
    """Per operation: how often each status was seen, by what, how valid requests fared, which statuses nobody saw."""
    operations: dict[str, Any] = {}
    for operation in document.operations():
        by = {name: dict(seen[operation.id]) for name, seen in curated.items() if operation.id in seen}
        row: dict[str, Any] = {}
        if tally is not None:
            by["fuzz"] = {str(status): count for status, count in tally.statuses[operation.id].items()}
            row["fuzzed"] = tally.fuzzed[operation.id]
            row["valid"] = {"sent": tally.valid[operation.id].total(), "accepted": tally.accepted(operation.id)}
        statuses = sorted({status for counts in by.values() for status in counts})
        operations[operation.id] = {
            "statuses": {status: sum(counts.get(status, 0) for counts in by.values()) for status in statuses},
            "by": by,
            **row,
            "unseen": sorted(operation.statuses - set(statuses)),
        }
    return {"operations": operations, "fuzz": tally.document() if tally is not None else None}
