"""Judges log lines against contracts/log-events, one JSON Schema per event, and looks for secrets among them.

Does not wait for lines or read files: harness.logs does.
"""

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs

SCHEMAS = Path(__file__).resolve().parent.parent / "contracts" / "log-events"
BASE = "nexmdm:/log-events/"
ISSUED = "nx[ed]_([0-9a-f]{32}_)?[A-Za-z0-9_-]{43}"
SECRET = re.compile(f"{ISSUED}|-----BEGIN [A-Z ]*PRIVATE KEY")


@functools.cache
def _validators() -> dict[str, jsonschema_rs.Draft202012Validator]:
    documents = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in SCHEMAS.glob("*.schema.json")}
    registry = jsonschema_rs.Registry([(BASE + name, document) for name, document in documents.items()])
    return {
        name.removesuffix(".schema.json"): jsonschema_rs.Draft202012Validator(document, registry=registry)
        for name, document in documents.items()
        if name != "common.schema.json"
    }


def events() -> set[str]:
    """Every event that has a schema."""
    return set(_validators())


def faults(line: Mapping[str, Any]) -> list[str]:
    """What is wrong with one line; empty when it is as its schema says."""
    if line.get("event") == "internal.error":
        return ["internal.error: a bug of the service, whatever it has answered"]
    validator = _validators().get(str(line.get("event")))
    if validator is None:
        return [f"event {line.get('event')!r} has no schema in contracts/log-events"]
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


def leaks(text: str, secrets: Iterable[str] = ()) -> list[str]:
    """Where a token, a private key or one of the given secrets stands in the text: the lines, never the secret."""
    known = [secret for secret in secrets if secret]
    return [
        f"line {number}: {SECRET.sub('[secret]', line)[:200] if SECRET.search(line) else 'a known secret'}"
        for number, line in enumerate(text.splitlines(), 1)
        if SECRET.search(line) or any(secret in line for secret in known)
    ]
