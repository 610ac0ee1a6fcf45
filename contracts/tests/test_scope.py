"""Which operations a target is asked for: of the sandbox broker none, unless keys and a pool can be made for it."""

from dataclasses import replace

import pytest

from contracts.fuzz import runner, scope
from harness.http.openapi import Document
from harness.settings import Target

WITH = Target(
    "http://127.0.0.1:1",
    "k" * 16,
    "s" * 16,
    "postgresql://owner@127.0.0.1/x",
    provider_control_url="http://127.0.0.1:2",
)
ASKED_ELSEWHERE = {"pushRoot"}


def test_a_target_with_both_is_asked_for_everything() -> None:
    every = list(Document.read().operations())
    assert list(scope.document(WITH).operations()) == [one for one in every if one.id not in ASKED_ELSEWHERE]
    assert runner.parts_for(WITH) == runner.PARTS


@pytest.mark.parametrize(
    "target,without,missing",
    [
        (
            replace(WITH, database_url=None),
            (*scope.SANDBOXES, *scope.PLATFORM),
            {"fuzz-sandboxes", "fuzz-zones", "fuzz-agents", "fuzz-mounts"},
        ),
        (replace(WITH, provider_control_url=None), scope.SANDBOXES, {"fuzz-sandboxes"}),
    ],
)
def test_without_one_what_needs_it_is_left_out(target: Target, without: tuple[str, ...], missing: set[str]) -> None:
    left_out = {one.id for one in Document.read().operations() if one.definition["tags"][0] in without}
    asked = {one.id for one in scope.document(target).operations()}
    assert "allocateSandbox" in left_out
    assert asked == {one.id for one in Document.read().operations()} - left_out - ASKED_ELSEWHERE
    parts = runner.parts_for(target)
    assert parts.keys() == runner.PARTS.keys() - missing
    for name, options in parts.items():
        spared = {options[at + 1] for at, word in enumerate(options) if word == "--exclude-tag"}
        assert spared >= set(without) or "--include-tag" in options, name
