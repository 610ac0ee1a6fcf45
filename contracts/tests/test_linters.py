"""The lint gate turns red on a specification that is wrong, and says nothing when a linter cannot run."""

from pathlib import Path

import pytest

from contracts.lint import linters
from harness.http.openapi import OPENAPI

SMALL = """
openapi: 3.1.0
info: {title: Small, version: 1.0.0}
servers: [{url: "https://small.test"}]
paths:
  /health:
    get:
      operationId: getHealth
      summary: Look at it
      security: [{token: []}]
      responses:
        "200": {$ref: "#/components/responses/Healthy"}
  /metrics:
    get:
      operationId: getMetrics
      summary: Count it
      security: [{token: []}]
      responses:
        "200": {$ref: "#/components/responses/Healthy"}
components:
  securitySchemes:
    token: {type: http, scheme: bearer}
  responses:
    Healthy:
      description: It is well.
      content:
        application/json:
          schema: {$ref: "#/components/schemas/Health"}
          example: {healthy: true, after_s: 120}
  schemas:
    Health:
      type: object
      properties:
        healthy: {type: boolean}
        after_s: {type: integer}
"""


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What is held against the small specification as it is: it keeps no house rule, but is sound."""
    return findings(tmp_path_factory.mktemp("small"), SMALL)


def findings(folder: Path, text: str) -> list[str]:
    file = folder / "openapi.yaml"
    file.write_text(text, encoding="utf-8")
    return linters.findings(file)


@pytest.mark.parametrize(
    "old,new,words",
    [
        ("operationId: getHealth", "operationId: getMetrics", "unique"),
        ("type: boolean", "type: bool", "bool"),
        ("after_s: 120", "after_s: soon", "no-invalid-media-type-examples"),
        ("      summary: Look at it\n", "", "operation-summary"),
        ("security: [{token: []}]", "security: [{sesame: []}]", "sesame"),
        ("schemas/Health", "schemas/Nothing", "Nothing"),
    ],
    ids=["same id twice", "no such type", "wrong example", "no summary", "no such scheme", "dangling reference"],
)
def test_red(tmp_path: Path, before: list[str], old: str, new: str, words: str) -> None:
    assert old in SMALL
    assert not any(words in finding for finding in before)
    assert any(words in finding for finding in findings(tmp_path, SMALL.replace(old, new, 1)))


def test_not_yaml(tmp_path: Path) -> None:
    bad = tmp_path / "openapi.yaml"
    bad.write_text("openapi: [", encoding="utf-8")
    assert "not YAML" in linters.findings(bad)[0]


def test_linter_that_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linters, "_redocly", lambda: tmp_path / "nothing.js")
    with pytest.raises(linters.LinterUnavailable):
        linters.redocly_findings(OPENAPI)
