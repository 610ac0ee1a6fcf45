"""JSON Schemas of an OpenAPI document as rows to read: name, type, limits, description. It validates nothing.

References are followed; members beside a `$ref` narrow what it refers to, as OpenAPI 3.1 has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

_DEEPEST: Final = 6  # a schema that contains itself ends here


@dataclass(frozen=True, slots=True)
class Row:
    """One member. `name` is its path from the top: `tokens[].alias`."""

    name: str
    type: str
    required: bool
    limits: tuple[str, ...]
    description: str


class Resolver:
    """Follows the references of one document."""

    def __init__(self, document: Json) -> None:
        self._document = document

    def __call__(self, node: Json) -> Json:
        """The node itself, or what it refers to, narrowed by the members beside the reference."""
        while "$ref" in node:
            target: Any = self._document
            for step in node["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            node = _narrowed(target, {key: value for key, value in node.items() if key != "$ref"})
        for part in node.get("allOf", []):
            node = _narrowed(self(part), {key: value for key, value in node.items() if key != "allOf"})
        return node


def _narrowed(wide: Json, narrow: Json) -> Json:
    merged = {**wide, **narrow}
    if "properties" in wide and "properties" in narrow:
        merged["properties"] = dict(wide["properties"])
        for name, value in narrow["properties"].items():
            merged["properties"][name] = _narrowed(wide["properties"].get(name, {}), value)
    if "required" in wide and "required" in narrow:
        merged["required"] = [*wide["required"], *narrow["required"]]
    return merged


def alternatives(schema: Json, resolve: Resolver) -> list[tuple[str, Json]]:
    """The shapes that a body can have, each with what tells it apart; one without a name where there is no choice."""
    resolved = resolve(schema)
    if "oneOf" not in resolved:
        return [("", resolved)]
    named = []
    for branch in map(resolve, resolved["oneOf"]):
        constants = [
            f"{name} = {_shown(resolve(member)['const'])}"
            for name, member in branch.get("properties", {}).items()
            if "const" in resolve(member)
        ]
        label = ", ".join(constants) or f"with {', '.join(branch.get('required', []))}"
        named += [(" · ".join(filter(None, (label, inner))), shape) for inner, shape in _inner(branch, resolve)]
    return named


def _inner(branch: Json, resolve: Resolver) -> list[tuple[str, Json]]:
    choices = [resolve(choice) for choice in branch.get("oneOf", [])]
    if not any("properties" in choice for choice in choices):
        return [("", branch)]  # the choices only say which members go together
    rest = {key: value for key, value in branch.items() if key != "oneOf"}
    return [(f"with {', '.join(choice.get('required', []))}", _narrowed(rest, choice)) for choice in choices]


def rows(schema: Json, resolve: Resolver, prefix: str = "", depth: int = 0) -> Iterator[Row]:
    """Every member of an object, its members after it."""
    resolved = resolve(schema)
    if depth > _DEEPEST:
        return
    required = set(resolved.get("required", []))
    for name, member in resolved.get("properties", {}).items():
        yield from _member(f"{prefix}{name}", resolve(member), name in required, resolve, depth)
    extra = resolved.get("additionalProperties")
    if isinstance(extra, dict):
        yield from _member(f"{prefix}*", resolve(extra), False, resolve, depth)


def _member(name: str, member: Json, required: bool, resolve: Resolver, depth: int) -> Iterator[Row]:
    yield Row(name, type_of(member, resolve), required, limits_of(member), member.get("description", ""))
    inner, path = member, name
    while "items" in inner:
        inner, path = resolve(inner["items"]), f"{path}[]"
    for choice in (*inner.get("oneOf", ()), *inner.get("anyOf", ())):
        yield from rows(choice, resolve, f"{path}.", depth + 1)
    yield from rows(inner, resolve, f"{path}.", depth + 1)


def type_of(schema: Json, resolve: Resolver) -> str:
    """The type in words: `array of string`, `integer or null`."""
    schema = resolve(schema)
    choices = schema.get("oneOf") or schema.get("anyOf")
    if choices:
        return " or ".join(dict.fromkeys(type_of(choice, resolve) for choice in choices))
    if "const" in schema:
        return f"always {_shown(schema['const'])}"
    stated = schema.get("type", "string" if "enum" in schema else "any")
    names = [stated] if isinstance(stated, str) else list(stated)
    if "items" in schema:
        names = [f"array of {type_of(schema['items'], resolve)}" if name == "array" else name for name in names]
    if "format" in schema:
        names[0] = f"{names[0]} ({schema['format']})"
    return " or ".join(names)


def limits_of(schema: Json) -> tuple[str, ...]:
    """What a value must keep to, a phrase each."""
    found = []
    if "enum" in schema:
        found.append("one of " + ", ".join(map(_shown, schema["enum"])))
    for low, high, unit in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
        ("minProperties", "maxProperties", " members"),
    ):
        if low in schema and high in schema:
            found.append(f"{schema[low]} to {schema[high]}{unit}")
        elif low in schema:
            found.append(f"at least {schema[low]}{unit}")
        elif high in schema:
            found.append(f"at most {schema[high]}{unit}")
    if "pattern" in schema:
        found.append(f"matches {schema['pattern']}")
    if schema.get("uniqueItems"):
        found.append("no two equal")
    if "default" in schema:
        found.append(f"default {_shown(schema['default'])}")
    return tuple(found)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
