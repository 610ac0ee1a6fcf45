"""Which operations a target is asked for: without a database that takes keys and a pool, none of the sandbox broker."""

from contracts.fuzz import runner, scope
from harness.http.openapi import Document
from harness.settings import Target

WITHOUT = Target("http://127.0.0.1:1", "k" * 16, "s" * 16)
WITH = Target("http://127.0.0.1:1", "k" * 16, "s" * 16, "postgresql://owner@127.0.0.1/x")


def test_a_target_with_a_database_is_asked_for_everything() -> None:
    assert list(scope.document(WITH).operations()) == list(Document.read().operations())
    assert runner.parts_for(WITH) == runner.PARTS


def test_without_one_the_broker_is_left_out() -> None:
    of_the_broker = {one.id for one in Document.read().operations() if one.definition["tags"][0] in scope.SANDBOXES}
    asked = {one.id for one in scope.document(WITHOUT).operations()}
    assert "allocateSandbox" in of_the_broker
    assert asked == {one.id for one in Document.read().operations()} - of_the_broker
    parts = runner.parts_for(WITHOUT)
    assert parts.keys() == runner.PARTS.keys() - {runner.OF_SANDBOXES}
    for name, options in parts.items():
        spared = {options[at + 1] for at, word in enumerate(options) if word == "--exclude-tag"}
        assert spared >= set(scope.SANDBOXES) or "--include-tag" in options, name
