"""The lanes of students and the pool over time: nobody and nothing is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from report import pool, students
from report.page import render
from report.sources import read
from report.tests import builder
from report.tests.conftest import Page


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return builder.taught(tmp_path / "sandboxes")


def test_every_student_has_a_lane_below_its_lab(folder: Path) -> None:
    svg = students.draw(read(folder).students).figure.svg
    assert re.findall(r">(docker-intro|terraform-101|s0\d)</text>", svg) == [
        "docker-intro",
        "s01",
        "s03",
        "terraform-101",
        "s02",
    ]
    spans = re.findall(r"<title>(s0\d (?:waits|has)[^<]*)</title>", svg)
    assert spans == [
        "s01 has a sandbox: 0.1 to 9 s",
        "s03 waits: 0.5 to 4 s",
        "s03 has a sandbox: 4 to 8 s",
        "s02 has a sandbox: 0.2 to 2 s",
        "s02 has vanished, its sandbox has not ended: 2 to 12 s",
    ]
    assert "s01: failed (503) at 7 s" in svg
    assert svg.count('class="tick-') == 3


def test_students_and_pool_stand_before_the_limits_and_the_words_before_them(folder: Path) -> None:
    page = Page(render(folder))
    assert page.sections()[:3] == ["students", "pool", "limits"]
    assert page.text.index("3 students of 2 labs") < page.text.index("How to read this page")


def test_a_state_in_which_something_was_has_a_line(folder: Path) -> None:
    figure, answers = pool.draw(read(folder).pool)
    assert re.findall(r'class="end halo \w+"[^>]*>([a-z ]+)</text>', figure.svg)[::-1] == [
        "available",
        "allocated",
        "deleting",
        "deleted",
    ]
    assert "10 s: 0 available, 0 allocated, 1 deleting, 2 deleted" in figure.svg
    assert "5 s: 4 a new sandbox, 4 the same again, 4 none free" in answers.svg
    assert pool.draw({"pool": {"available": [[0.0, 0]]}, "answers": {}}) == []


def test_a_pool_that_its_schema_refuses_is_told_and_harms_nothing(folder: Path) -> None:
    (folder / "pool.json").write_text('{"pool": {"available": "x"}}')
    page = Page(render(folder))
    assert "pool" not in page.sections()
    assert "pool.json is there and cannot be used" in page.text
