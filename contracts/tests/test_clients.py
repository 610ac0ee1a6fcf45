"""The generator of clients finds what it cannot make of a specification, and what it leaves out in silence."""

from pathlib import Path

import pytest

from contracts.lint import clients
from harness.http.openapi import OPENAPI

BODY = "          application/octet-stream:\n            schema: {type: string, format: binary}\n"
ANSWER = "            application/octet-stream:\n              schema: {type: string, format: binary}\n"
EXTENDS = "        - type: object\n          required: [transitions]\n          properties:\n            transitions:"
# What is changed in the specification, and what has to be said then.
WRONG = {
    "two models of one name": ("PingParams", "OpenapiDocumentInfo", "duplicate models"),
    "an unknown answer": (ANSWER, ANSWER.replace("octet-stream", "x-other"), "Unsupported content_type"),
    "an unknown body": (BODY, BODY.replace("octet-stream", "x-other"), "upload_apk_build is not generated"),
    "one model taken for another": (
        EXTENDS,
        "      required: [transitions]\n      properties:\n            transitions:",
        "dispatch_detail is not generated",
    ),
}


@pytest.mark.slow
def test_each_loss_is_found(tmp_path: Path) -> None:  # in one run, which takes seconds
    text = OPENAPI.read_text(encoding="utf-8")
    for old, new, _ in WRONG.values():
        assert old in text
        text = text.replace(old, new)
    bad = tmp_path / "openapi.yaml"
    bad.write_text(text, encoding="utf-8")
    found = "\n".join(clients.findings(bad))
    assert [name for name, (_, _, words) in WRONG.items() if words not in found] == []


def test_a_generator_that_cannot_run(tmp_path: Path) -> None:
    path = tmp_path / "nothing.yaml"
    path.write_text("{}")
    with pytest.raises(clients.GeneratorBroken):
        clients.findings(path)
