"""The lanes of agents and tasks of the platform."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from report import platform
from report.page import render
from report.sources import read
from report.tests import builder
from report.tests.conftest import Page


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return builder.shown(tmp_path / "platform")


def test_every_agent_and_every_task_has_a_lane_below_its_zone(folder: Path) -> None:
    agents, tasks = platform.draw(read(folder).platform)
    assert re.findall(r">(alpha|beta|agent-\d)</text>", agents.figure.svg) == [
        *("alpha", "agent-1"),
        *("beta", "agent-1", "agent-2"),
    ]
    assert "beta-agent-1 is silent: 3 to 9 s" in agents.figure.svg
    assert re.findall(r"<title>(beta-001 [^<]*)</title>", tasks.figure.svg) == [
        "beta-001 is queued: 0.5 to 3 s",
        "beta-001 is left by an agent that fell silent: 3 to 8 s",
        "beta-001 is worked at: 8 to 8.5 s",
    ]
    assert "beta-001: retried at 8.5 s" in tasks.figure.svg
    assert [event for event, _ in tasks.legend] == ["completed", "retried", "failed"]


def test_agents_and_tasks_stand_before_the_limits(folder: Path) -> None:
    page = Page(render(folder))
    assert page.sections()[:3] == ["agents", "tasks", "limits"]


def test_what_its_schema_refuses_is_told_and_harms_nothing(folder: Path) -> None:
    (folder / "platform.json").write_text('{"agents": "x"}')
    page = Page(render(folder))
    assert "agents" not in page.sections()
    assert "platform.json is there and cannot be used" in page.text
