"""Judges log lines against harness/schemas/log-events, one JSON Schema per event, in a folder per service.

It neither waits for lines nor reads files (log_tail.py does), and looks for no secret (secret_scan.py does).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs

SCHEMAS = Path(__file__).resolve().parents[1] / "schemas" / "log-events"
BASE = "nexmdm:/log-events/"
LOST = "log.lost"
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def documents() -> dict[str, dict[str, Any]]:
    """Event -> its schema, of all services; `common` is what they share."""
    return {
        path.name.removesuffix(".schema.json"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(SCHEMAS.rglob("*.schema.json"))
    }


@functools.cache
def _validators() -> dict[str, jsonschema_rs.Draft202012Validator]:
    found = documents()
    registry = jsonschema_rs.Registry([(f"{BASE}{name}.schema.json", document) for name, document in found.items()])
    return {
        name: jsonschema_rs.Draft202012Validator(document, registry=registry)
        for name, document in found.items()
        if name != "common"
    }


def faults(line: Mapping[str, Any]) -> list[str]:
    """What is wrong with one line; empty when it is as its schema says."""
    if line.get("event") == "internal.error":
        return ["internal.error: a bug of the service, whatever it has answered"]
    if line.get("event") == LOST:
        return [f"{LOST}: lines are missing, so that nothing is known of them"]
    validator = _validators().get(str(line.get("event")))
    if validator is None:
        return [f"event {line.get('event')!r} has no schema in harness/schemas/log-events"]
    return [
        f"{'/'.join(str(part) for part in error.instance_path) or 'line'}: {error.message}"
        for error in validator.iter_errors(dict(line))
    ]


def judge(lines: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """One sentence per line that is not as its schema says."""
    for line in lines:
        found = faults(line)
        if found:
            yield f"{'; '.join(found)} in {json.dumps(line)}"


def unprintable(text: str) -> Iterator[str]:
    """One sentence per line that holds what a terminal or viewer would obey: controls, line breaks, bidi overrides."""
    for number, line in enumerate(text.split("\n"), 1):
        if found := _OBEYED.findall(line):
            yield f"line {number}: control characters {sorted({f'U+{ord(one):04X}' for one in found})}"
