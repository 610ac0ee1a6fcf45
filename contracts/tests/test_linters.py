"""The lint gate turns red on a specification that is wrong, and says nothing when a linter cannot run."""

from pathlib import Path

import pytest

from contracts.lint import linters
from harness.http.openapi import OPENAPI


def test_clean() -> None:
    assert linters.findings() == []


@pytest.mark.parametrize(
    "old,new,words",
    [
        ("operationId: getHealth", "operationId: getMetrics", "unique"),
        ("type: boolean", "type: bool", "bool"),
        ("heartbeat_interval_s: 120", "heartbeat_interval_s: soon", "no-invalid-media-type-examples"),
        ("      summary: Retire a device\n", "", "operation-summary"),
        ("security: [{deviceToken: []}]", "security: [{sesame: []}]", "sesame"),
        ("'#/components/schemas/Registered'", "'#/components/schemas/Nothing'", "Nothing"),
    ],
    ids=["same id twice", "no such type", "wrong example", "no summary", "no such scheme", "dangling reference"],
)
def test_red(tmp_path: Path, old: str, new: str, words: str) -> None:
    text = OPENAPI.read_text(encoding="utf-8")
    assert old in text
    bad = tmp_path / "openapi.yaml"
    bad.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert any(words in finding for finding in linters.findings(bad))


def test_not_yaml(tmp_path: Path) -> None:
    bad = tmp_path / "openapi.yaml"
    bad.write_text("openapi: [", encoding="utf-8")
    assert "not YAML" in linters.findings(bad)[0]


def test_linter_that_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linters, "_redocly", lambda: tmp_path / "nothing.js")
    with pytest.raises(linters.LinterUnavailable):
        linters.redocly_findings(OPENAPI)
