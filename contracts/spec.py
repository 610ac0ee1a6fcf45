"""openapi.yaml as data: the document, its operations, references resolved. It judges nothing and fetches nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
OPENAPI: Final = ROOT / "openapi.yaml"
METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

Json = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One method of one path. `definition` is the Operation Object as written, `parameters` the path's and its own."""

    id: str
    method: str
    path: str
    definition: Json
    parameters: tuple[Json, ...]

    @property
    def label(self) -> str:
        return f"{self.method.upper()} {self.path}"

    @property
    def statuses(self) -> frozenset[str]:
        return frozenset(str(status) for status in self.definition.get("responses", {}))


class Document:
    """An OpenAPI document with local references. ValueError: a reference leads nowhere or out of the document."""

    def __init__(self, content: Json) -> None:
        self.content = content

    @classmethod
    def read(cls, path: Path = OPENAPI) -> Document:
        return cls(yaml.safe_load(path.read_text(encoding="utf-8")))

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
        if not reference.startswith("#/"):
            raise ValueError(f"{reference} leads out of the document")
        node: Any = self.content
        for part in reference[2:].split("/"):
            try:
                node = node[part.replace("~1", "/").replace("~0", "~")]
            except (KeyError, TypeError):
                raise ValueError(f"{reference} leads nowhere") from None
        return dict(node)

    def operations(self) -> Iterator[Operation]:
        for path, item in self.content.get("paths", {}).items():
            shared = item.get("parameters", [])
            for method in METHODS:
                if method not in item:
                    continue
                definition = item[method]
                parameters = tuple(self.resolve(p) for p in [*shared, *definition.get("parameters", [])])
                name = definition.get("operationId") or f"{method.upper()} {path}"
                yield Operation(name, method, path, definition, parameters)

    def operation(self, operation_id: str) -> Operation:
        """KeyError: there is no such operation."""
        for operation in self.operations():
            if operation.id == operation_id:
                return operation
        raise KeyError(operation_id)

    def example(self, operation_id: str, status: str) -> tuple[str, Any] | None:
        """Media type and value of the first example of one answer; None where the answer has no body."""
        response = self.resolve(self.operation(operation_id).definition["responses"][status])
        for media_type, content in response.get("content", {}).items():
            for example in content.get("examples", {}).values():
                return media_type, self.resolve(example)["value"]
        return None
