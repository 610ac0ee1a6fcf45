"""Operation x answer as the fuzzer saw it, for coverage.json. It judges no gap: the cases of acceptance see more."""

from __future__ import annotations

from typing import Any

from contracts.fuzz.tally import Tally
from harness.http.answers import documented
from harness.http.openapi import Document


def matrix(document: Document, tally: Tally) -> dict[str, Any]:
    """Per operation: how often each answer was seen, how valid requests fared, which answers nobody saw."""
    operations: dict[str, Any] = {}
    for operation in document.operations():
        seen = dict(sorted(tally.answers[operation.id].items()))
        operations[operation.id] = {
            "answers": seen,
            "fuzzed": tally.fuzzed[operation.id],
            "valid": {"sent": tally.valid[operation.id].total(), "accepted": tally.accepted(operation.id)},
            "unseen": sorted(documented(document, operation).keys() - seen.keys()),
        }
    return {"operations": operations, "fuzz": tally.document()}
