"""Which operations were answered with which statuses: what the coverage gate reads.

It deliberately knows the API only as the OpenAPI document that it is given, and decides about no gap.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

_METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
_VARIABLE = re.compile(r"\{[^{}]+\}")


class Recorder:
    """Counts (operation, status) pairs. Safe to share between clients and threads."""

    def __init__(self, openapi: Mapping[str, Any] | None = None) -> None:
        """openapi: the parsed document; without one every operation is recorded as "METHOD /path"."""
        self._lock = threading.Lock()
        self._seen: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self._operations: list[tuple[str, re.Pattern[str], str]] = []
        paths: Mapping[str, Any] = (openapi or {}).get("paths", {})
        # A path without variables wins over a template that fits it too (OpenAPI 3.1, "path templating matching").
        for template in sorted(paths, key=lambda path: path.count("{")):
            parts = map(re.escape, _VARIABLE.split(template))
            pattern = re.compile("[^/]+".join(parts))
            for method, operation in paths[template].items():
                if method in _METHODS:
                    name = operation.get("operationId", f"{method.upper()} {template}")
                    self._operations.append((method.upper(), pattern, name))

    def operation(self, method: str, path: str) -> str:
        """The operationId for a concrete path, else "METHOD /path"."""
        bare = path.partition("?")[0]
        for known_method, pattern, name in self._operations:
            if known_method == method.upper() and pattern.fullmatch(bare):
                return name
        return f"{method.upper()} {bare}"

    def record(self, method: str, path: str, status: int) -> None:
        """Count one answer."""
        name = self.operation(method, path)
        with self._lock:
            self._seen[name][status] += 1

    def seen(self) -> dict[str, dict[int, int]]:
        """operation -> status -> how often."""
        with self._lock:
            return {name: dict(statuses) for name, statuses in sorted(self._seen.items())}
