"""Operation x status as the fuzzer saw it, for coverage.json. It judges no gap: the cases of acceptance see more."""

from __future__ import annotations

from typing import Any

from contracts.fuzz.tally import Tally
from harness.http.openapi import Document


def matrix(document: Document, tally: Tally) -> dict[str, Any]:
    """Per operation: how often each status was seen, how valid requests fared, which statuses nobody saw."""
    operations: dict[str, Any] = {}
    for operation in document.operations():
        seen = {str(status): count for status, count in sorted(tally.statuses[operation.id].items())}
        operations[operation.id] = {
            "statuses": seen,
            "fuzzed": tally.fuzzed[operation.id],
            "valid": {"sent": tally.valid[operation.id].total(), "accepted": tally.accepted(operation.id)},
            "unseen": sorted(operation.statuses - seen.keys()),
        }
    return {"operations": operations, "fuzz": tally.document()}
