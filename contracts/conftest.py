"""Fixtures of the curated contract cases: the target from the environment, what lives in it. It starts no service."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.fuzz.world import Enrolled, World
from contracts.spec import Document
from contracts.wire import Wire
from harness.http.coverage_recorder import Recorder
from harness.settings import SettingsError, Target


@pytest.fixture(scope="session")
def target() -> Target:
    try:
        return Target.from_env()
    except SettingsError as error:
        pytest.exit(f"no target: {error}", returncode=2)


@pytest.fixture(scope="session")
def world(target: Target) -> Iterator[World]:
    with contextlib.closing(World(target)) as made:
        yield made


@pytest.fixture(scope="session")
def wire(target: Target, request: pytest.FixtureRequest) -> Iterator[Wire]:
    """What was seen goes beside the JUnit report, if there is one: raw.junit.xml, raw.seen.json."""
    recorder = Recorder(Document.read().content)
    yield Wire(target.base_url, recorder)
    junit = request.config.getoption("xmlpath")
    if junit is not None:
        seen = Path(junit).with_name(Path(junit).name.partition(".")[0] + ".seen.json")
        seen.write_text(json.dumps(recorder.seen()), encoding="utf-8")


@pytest.fixture(scope="session")
def device(world: World) -> Enrolled:
    return world.device()
