"""Whether a foreign generator of clients, openapi-python-client, makes all of openapi.yaml: operations and models."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from harness.http.openapi import Document

GENERATE_TIMEOUT_S: Final = 180  # takes 2 s where nobody else runs
# By default it formats what it has written with ruff, which says nothing about the specification. Of the media type of
# tus it has to be told that it is bytes.
_CONFIG: Final = """
post_hooks: []
content_type_overrides:
  application/offset+octet-stream: application/octet-stream
"""
_INDENTED: Final = re.compile(r"^[ {}]")  # the part of the document that a warning quotes


class GeneratorBroken(Exception):
    """The generator could not run. One line."""


def findings(path: Path) -> list[str]:
    """What the generator warns of and what it leaves out without a word, one line each."""
    document = Document.read(path)
    with tempfile.TemporaryDirectory() as folder:
        made, config, source = (Path(folder) / name for name in ("client", "config.yaml", "openapi.json"))
        config.write_text(_CONFIG, encoding="utf-8")
        source.write_text(json.dumps(document.content, default=str), encoding="utf-8")  # it takes 5 s to read YAML
        options = ["--path", str(source), "--config", str(config), "--output-path", str(made), "--meta", "none"]
        command = [sys.executable, "-m", "openapi_python_client", "generate", *options, "--fail-on-warning"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=GENERATE_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise GeneratorBroken(f"openapi-python-client has run for {GENERATE_TIMEOUT_S} s") from None
        if not made.is_dir():
            raise GeneratorBroken(f"openapi-python-client exited with {done.returncode}: {_told(done.stderr)}")
        warned = [f"openapi-python-client: {_told(done.stderr)}"] if done.returncode else []
        missing = sorted(_wanted(document) - {file.stem for file in made.rglob("*.py")})
    return [*warned, *(f"openapi-python-client: {name} is not generated" for name in missing)]


def _told(output: str) -> str:
    return " ".join(" ".join(line for line in output.splitlines() if not _INDENTED.match(line)).split())[:2000]


def _wanted(document: Document) -> set[str]:
    """The modules that there have to be: one for each operation, one for each schema that has members."""
    named = [operation.id for operation in document.operations()]
    for name, schema in document.content["components"]["schemas"].items():
        parts = [schema, *(document.resolve(part) for part in schema.get("allOf", ()))]
        if any("properties" in part for part in parts):
            named.append(name)
    return {re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() for name in named}
