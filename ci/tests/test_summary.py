"""The summary repeats what the reports say, names what failed, and does not hide that a report is missing.

It checks the facts on the page, not its looks.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ci import summary

JUNIT = """<?xml version="1.0"?><testsuites><testsuite tests="3" failures="1" errors="1" skipped="0" time="1.6">
<testcase classname="test_register" name="test_ok"/>
<testcase classname="test_register" name="test_race"><failure message="two winners"/></testcase>
<testcase classname="test_register" name="test_setup"><error message="no stack"/></testcase>
</testsuite></testsuites>"""


def test_the_page_names_sessions_counts_failures_and_suites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = {"sessions": [{"name": "lint", "result": "success", "duration": 41.6}]}
    (tmp_path / "nox.json").write_text(json.dumps(report))
    for suite in ("acceptance", "sim20"):
        (tmp_path / suite).mkdir()
    (tmp_path / "acceptance" / "junit.xml").write_text(JUNIT)
    (tmp_path / "sim20" / "summary.md").write_text("# ✅ sim20: pass\n")
    (tmp_path / "acceptance" / "summary.md").write_text("# ❌ acceptance: fail\n")
    step = tmp_path / "step.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    assert summary.main([str(tmp_path)]) == 0
    page = (tmp_path / "summary.md").read_text()
    assert "| lint | success | 42 |" in page
    assert "| acceptance | 3 | 1 | 1 | 0 | 2 |" in page
    failed = "- acceptance: test_register::test_race: two winners\n- acceptance: test_register::test_setup: no stack\n"
    assert failed in page
    assert "test_ok" not in page
    assert "# ✅ sim20: pass" in page
    assert "# ❌ acceptance: fail" in page
    assert step.read_text() == page
    printed = capsys.readouterr().out
    assert "sim20" not in printed, "a log is read from its end: what passed is on the page alone"
    assert printed.index("# ❌ acceptance: fail") < printed.index("| lint | success | 42 |")
    assert printed.rstrip().endswith(failed.rstrip())


def test_a_run_without_reports_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    summary.main([str(tmp_path)])
    assert "No session was reported." in (tmp_path / "summary.md").read_text()
