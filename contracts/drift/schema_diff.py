"""JSON Schemas in one normal form, and the differences between two of them. It validates nothing.

Two schemas that say the same in different words (a $ref or its target, `const` or a one-value `enum`, `anyOf` with null
or a list of types, an explicit default of JSON Schema or its absence) have the same normal form. What a validator does
not enforce (title, description, examples) is left out. `format` counts where both sides state it: a generator that
writes the pattern alone says no less.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from harness.http.openapi import Document, Json

_ANNOTATIONS: Final = frozenset(
    {"title", "description", "example", "examples", "deprecated", "discriminator", "readOnly", "writeOnly", "$defs"}
)
_SCHEMAS: Final = frozenset({"items", "additionalProperties", "unevaluatedProperties", "propertyNames"})
_DEFAULTS: Final[tuple[tuple[str, Any], ...]] = (
    ("minLength", 0),
    ("minItems", 0),
    ("minProperties", 0),
    ("uniqueItems", False),
    ("additionalProperties", True),
    ("required", []),
    ("properties", {}),
    ("default", None),
    ("propertyNames", {}),
)
_TYPES: Final = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def normal(schema: Any, document: Document, *, on_the_wire: bool = False) -> Any:
    """The normal form. on_the_wire: a parameter, which is text and cannot be null."""
    if not isinstance(schema, dict):
        return schema
    if "$defs" in schema:  # a generator that writes a schema whole, with its definitions inside
        document = Document({**document.content, "$defs": schema["$defs"]})
    shape = {key: value for key, value in document.resolve(schema).items() if key not in _ANNOTATIONS}
    for part in shape.pop("allOf", []):
        shape = _conjunction(shape, normal(part, document))
    if "const" in shape:
        shape["enum"] = [shape.pop("const")]
    for key in _SCHEMAS & shape.keys():
        shape[key] = normal(shape[key], document)
    if "properties" in shape:
        shape["properties"] = {name: normal(value, document) for name, value in shape["properties"].items()}
    # Names of one pattern and no others: the other way to write propertyNames.
    if len(shape.get("patternProperties", {})) == 1 and shape.get("additionalProperties") is False:
        ((pattern, value),) = shape.pop("patternProperties").items()
        shape |= {"propertyNames": {"pattern": pattern}, "additionalProperties": normal(value, document)}
    for key in ("oneOf", "anyOf"):
        if key in shape:
            shape = _alternatives(shape, key, [normal(branch, document) for branch in shape.pop(key)])
    return _settled(shape, on_the_wire)


def _settled(shape: Json, on_the_wire: bool) -> Json:
    """Types as a sorted list or one name, lists in order, nothing that JSON Schema assumes anyway."""
    types = _type_list(shape)
    if not types and "enum" in shape:
        types = list({_TYPES.get(type(value), "object") for value in shape["enum"]})
    if on_the_wire:
        types = [name for name in types if name != "null"]
    if types:
        shape["type"] = types[0] if len(types) == 1 else sorted(types)
    if "required" in shape:
        shape["required"] = sorted(shape["required"])
    if "enum" in shape:
        shape["enum"] = sorted(shape["enum"], key=json.dumps)
    # Names of members are strings without being told so.
    if shape.get("propertyNames", {}).get("type") == "string":
        del shape["propertyNames"]["type"]
    assumed = [key for key, default in _DEFAULTS if key in shape and shape[key] == default]
    return {key: _number(value) for key, value in shape.items() if key not in assumed}


def _conjunction(first: Json, second: Json) -> Json:
    merged = {**second, **first}
    for key in ("properties", "required"):
        if key in first and key in second:
            both = first[key], second[key]
            merged[key] = {**both[1], **both[0]} if key == "properties" else sorted({*both[0], *both[1]})
    return merged


def _alternatives(shape: Json, key: str, branches: list[Json]) -> Json:
    """Branches in a stable order; X or null becomes a list of types; a single branch is no alternative."""
    nothing = {"type": "null"}
    # Integers are numbers: beside the same bounds for numbers they say nothing new.
    branches = [
        branch for branch in branches if {**branch, "type": "number"} not in branches or branch["type"] != "integer"
    ]
    rest = [branch for branch in branches if branch != nothing]
    if len(rest) == 1:
        types = _type_list(rest[0])
        widened = {**rest[0], "type": [*types, "null"]} if len(rest) < len(branches) and types else rest[0]
        return _conjunction(shape, widened)
    return {**shape, key: sorted(branches, key=lambda branch: json.dumps(branch, sort_keys=True))}


def _type_list(shape: Json) -> list[str]:
    stated = shape.get("type", [])
    return [stated] if isinstance(stated, str) else list(stated)


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def differences(spec: Any, code: Any, where: str) -> Iterator[str]:
    """One line for each thing that two normal forms do not have in common."""
    if not isinstance(spec, dict) or not isinstance(code, dict):
        if spec != code:
            yield f"{where}: spec {_short(spec)}, code {_short(code)}"
        return
    for key in sorted({*spec, *code}):
        if key == "format" and not (key in spec and key in code):
            continue
        if key == "properties":
            yield from _members(spec.get(key, {}), code.get(key, {}), where)
        elif key in ("oneOf", "anyOf") and key in spec and key in code:
            yield from _branches(spec[key], code[key], f"{where} {key}")
        elif key in ("items", "additionalProperties", "propertyNames") and key in spec and key in code:
            yield from differences(spec[key], code[key], f"{where} {key}")
        elif key not in spec or key not in code or spec[key] != code[key]:
            yield f"{where} {key}: spec {_short(spec.get(key))}, code {_short(code.get(key))}"


def _members(spec: Json, code: Json, where: str) -> Iterator[str]:
    for name in sorted({*spec, *code}):
        if name not in code:
            yield f"{where}.{name}: only in the spec"
        elif name not in spec:
            yield f"{where}.{name}: only in the code"
        else:
            yield from differences(spec[name], code[name], f"{where}.{name}")


def _branches(spec: list[Json], code: list[Json], where: str) -> Iterator[str]:
    named_spec, named_code = _named(spec), _named(code)
    for name in sorted({*named_spec, *named_code}):
        if name not in named_code:
            yield f"{where}[{name}]: only in the spec"
        elif name not in named_spec:
            yield f"{where}[{name}]: only in the code"
        else:
            yield from differences(named_spec[name], named_code[name], f"{where}[{name}]")


def _named(branches: list[Json]) -> dict[str, Json]:
    """Branches by the constant that tells them apart (action=ping), else by what they require, else by their type."""
    named: dict[str, Json] = {}
    for number, branch in enumerate(branches):
        constants = [
            f"{name}={member['enum'][0]}"
            for name, member in branch.get("properties", {}).items()
            if isinstance(member, dict) and len(member.get("enum", [])) == 1
        ]
        name = ",".join(constants or branch.get("required", []) or _type_list(branch)) or str(number)
        named[name if name not in named else f"{name}#{number}"] = branch
    return named


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 120 else f"{text[:117]}..."
