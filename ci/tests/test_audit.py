"""The audit: believed only where its control was seen, and never a pass for what could not be looked up."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ci import audit
from harness.verdict.thresholds import Status

SOUND: dict[str, Any] = {"name": "one", "version": "1.0", "vulns": []}
BAD: dict[str, Any] = {"name": "two", "version": "2.0", "vulns": [{"id": "PYSEC-1"}, {"id": "CVE-2"}]}
SKIPPED: dict[str, Any] = {"name": "three", "skip_reason": "not found on PyPI"}


def report(*dependencies: dict[str, Any]) -> dict[str, Any]:
    return {"dependencies": list(dependencies), "fixes": []}


@pytest.mark.parametrize(
    "said, status",
    [
        (report(SOUND), Status.PASS),
        (report(SOUND, BAD, SKIPPED), Status.FAIL),
        (report(SOUND, SKIPPED), Status.INCONCLUSIVE),
        (report(), Status.INCONCLUSIVE),
        ("exit code 1, ConnectionError", Status.INCONCLUSIVE),
    ],
)
def test_a_lock_passes_only_when_all_of_it_was_looked_up(said: Any, status: Status) -> None:
    assert audit.of_lock("locks/x.txt", said).status is status


def test_what_is_vulnerable_is_named() -> None:
    assert audit.of_lock("locks/x.txt", report(SOUND, BAD)).detail == "two 2.0: CVE-2, PYSEC-1"


@pytest.mark.parametrize(
    "said, status",
    [
        (report(BAD), Status.PASS),
        (report(SOUND), Status.INCONCLUSIVE),
        (report(SKIPPED), Status.INCONCLUSIVE),
        ("exit code 1, ConnectionError", Status.INCONCLUSIVE),
    ],
)
def test_the_control_has_to_be_seen(said: Any, status: Status) -> None:
    assert audit.control(said).status is status


@pytest.mark.parametrize(
    "of_control, of_lock, code", [(BAD, SOUND, 0), (BAD, BAD, 1), (BAD, SKIPPED, 2), (SKIPPED, SOUND, 2)]
)
def test_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_control: dict[str, Any], of_lock: dict[str, Any], code: int
) -> None:
    program, lock = tmp_path / "pip-audit", tmp_path / "lock.txt"
    answers = {"control.txt": report(of_control), "lock.txt": report(of_lock)}
    program.write_text(
        f"#!{sys.executable}\nimport sys, json, pathlib\n"
        f"print(json.dumps({answers!r}[pathlib.Path(sys.argv[sys.argv.index('-r') + 1]).name]))\n"
    )
    program.chmod(0o755)
    lock.write_text("one==1.0\n")
    monkeypatch.setenv("NEXMDM_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setattr(sys, "argv", ["audit", f"--pip-audit={program}", str(lock)])
    assert audit.main() == code
    assert json.loads((tmp_path / "artifacts" / "audit" / "result.json").read_text())["exit_code"] == code


def test_a_program_that_breaks_off_gives_its_reason_without_a_host(tmp_path: Path) -> None:
    program = tmp_path / "pip-audit"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('requests.ConnectionError: host=mirror.internal')\n")
    program.chmod(0o755)
    assert audit.ask(program, tmp_path) == "exit code 1, requests.ConnectionError"
