"""In CI a skipped test turns a green run red; elsewhere it does not.

It runs pytest as CI does, in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each runs pytest itself

ROOT = Path(__file__).parents[2]
SKIPPED = "import pytest\ndef test_it():\n    pytest.skip('no reason is good enough')\n"
SKIPPED_MODULE = "import pytest\npytest.skip('a whole module', allow_module_level=True)\n"
EXPECTED_FAILURE = "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_it():\n    assert not 'fixed'\n"
PASSES = "def test_other():\n    pass\n"


def run(folder: Path, content: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(content + PASSES)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments, str(folder)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "xdist"])
def test_a_skip_is_a_failure_and_is_named(tmp_path: Path, workers: list[str]) -> None:
    assert run(tmp_path, SKIPPED, *workers).returncode == 0
    done = run(tmp_path, SKIPPED, "-p", "ci.no_skips", *workers)
    assert done.returncode == 1
    assert "SKIPPED, and that is a failure in CI: test_it.py::test_it" in done.stdout


def test_a_skipped_module_is_a_failure(tmp_path: Path) -> None:
    done = run(tmp_path, SKIPPED_MODULE, "-p", "ci.no_skips")
    assert done.returncode != 0
    assert "SKIPPED, and that is a failure in CI: test_it.py" in done.stdout


def test_a_passed_and_an_expectedly_failed_test_are_fine(tmp_path: Path) -> None:
    assert run(tmp_path, EXPECTED_FAILURE, "-p", "ci.no_skips").returncode == 0
