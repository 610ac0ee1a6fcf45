"""openapi.yaml as data: the document, its operations, every local reference resolved. It judges and fetches nothing."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import add
from pathlib import Path
from typing import Any, Final

import yaml

from harness.verdict.artifacts import ROOT

OPENAPI: Final = ROOT / "openapi.yaml"
METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_VARIABLE: Final = re.compile(r"\{[^{}]+\}")

Json = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One method of one path. `definition` is the Operation Object as written, `parameters` the path's and its own.

    `pointer` is where it stands in the document.
    """

    id: str
    method: str
    path: str
    definition: Json
    parameters: tuple[Json, ...]
    pointer: str

    @property
    def label(self) -> str:
        return f"{self.method.upper()} {self.path}"

    @property
    def statuses(self) -> frozenset[str]:
        return frozenset(str(status) for status in self.definition.get("responses", {}))

    @property
    def rpc_errors(self) -> tuple[Json, ...]:
        """Of a call of JSON-RPC the errors that its answer may hold (code, data_code); else empty."""
        return tuple(self.definition.get("x-rpc-errors", ()))

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """What a concrete path has to match, whole. A parameter with `x-slashes` may hold slashes."""
        wide = {f"{{{one['name']}}}" for one in self.parameters if one.get("x-slashes")}
        texts, variables = _VARIABLE.split(self.path), _VARIABLE.findall(self.path)
        parts = (".+" if variable in wide else "[^/]+" for variable in variables)
        return re.compile(re.escape(texts[0]) + "".join(map(add, parts, map(re.escape, texts[1:]))))


class Document:
    """An OpenAPI document with local references. ValueError: a reference leads nowhere or out of the document."""

    def __init__(self, content: Json) -> None:
        self.content = content

    @classmethod
    def read(cls, path: Path = OPENAPI) -> Document:
        return cls(yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader))

    def resolve(self, node: Any) -> Any:
        """The object that `node` stands for; siblings of a $ref (OpenAPI 3.1) win over what it refers to."""
        seen: set[str] = set()
        while isinstance(node, Mapping) and "$ref" in node:
            reference = node["$ref"]
            if reference in seen:
                raise ValueError(f"{reference} refers to itself")
            seen.add(reference)
            siblings = {key: value for key, value in node.items() if key != "$ref"}
            node = {**self.at(reference), **siblings}
        return node

    def at(self, reference: str) -> Json:
        """What stands at `#/components/...`."""
        if not reference.startswith("#/"):
            raise ValueError(f"{reference} leads out of the document")
        node: Any = self.content
        for part in reference[2:].split("/"):
            try:
                node = node[part.replace("~1", "/").replace("~0", "~")]
            except (KeyError, TypeError):
                raise ValueError(f"{reference} leads nowhere") from None
        return dict(node)

    def follow(self, pointer: str) -> tuple[str, Json]:
        """Where the object at `/paths/...` stands in the end, by all its references, and what it says with them."""
        written = node = self.at(f"#{pointer}")
        resolved = self.resolve(written)
        while "$ref" in node:
            pointer = node["$ref"].removeprefix("#")
            node = self.at(f"#{pointer}")
        return pointer, resolved

    def operations(self) -> Iterator[Operation]:
        for path in self.content.get("paths", {}):
            pointer, item = self.follow(f"/paths/{escape(path)}")
            shared = item.get("parameters", [])
            for method in METHODS:
                if method not in item:
                    continue
                definition = item[method]
                parameters = tuple(self.resolve(p) for p in [*shared, *definition.get("parameters", [])])
                name = definition.get("operationId") or f"{method.upper()} {path}"
                yield Operation(name, method, path, definition, parameters, f"{pointer}/{method}")

    def operation(self, operation_id: str) -> Operation:
        """KeyError: there is no such operation."""
        for operation in self.operations():
            if operation.id == operation_id:
                return operation
        raise KeyError(operation_id)

    def responses(self, operation: Operation) -> dict[str, Json]:
        """Status -> Response Object."""
        return {str(status): self.resolve(one) for status, one in operation.definition.get("responses", {}).items()}

    def example(self, operation_id: str, status: str) -> tuple[str, Any] | None:
        """Media type and value of the first example of one answer; None where the answer has no body."""
        response = self.responses(self.operation(operation_id))[status]
        for media_type, content in response.get("content", {}).items():
            for example in content.get("examples", {}).values():
                return media_type, self.resolve(example)["value"]
        return None


def escape(part: str) -> str:
    """One part of a JSON pointer."""
    return part.replace("~", "~0").replace("/", "~1")
