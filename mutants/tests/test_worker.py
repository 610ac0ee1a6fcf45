"""A worker runs pytest again and again, each time in the environment and with the output that were asked for."""

import json
import os
import subprocess
import sys
from pathlib import Path

from harness.waiting import eventually
from mutants.worker import OVER

CASE = """
import os
def test_word():
    assert (os.environ["WORD"], os.environ.get("LEFT")) == ("good", None)
def test_process():
    print("process", os.getpid())
    assert 0
"""


def test_each_run_is_as_it_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(CASE)
    (tmp_path / "pytest.ini").write_text("[pytest]")
    command = [sys.executable, "-m", "mutants.worker", sys.executable]
    root = Path(__file__).resolve().parents[2]
    said = []
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as worker:
        assert worker.stdin is not None
        for number, settings in enumerate([{"WORD": "good"}, {"WORD": "bad", "LEFT": "1"}, {"WORD": "good"}]):
            folder = tmp_path / f"{number}"
            folder.mkdir()
            asked = {
                "arguments": ["-q", "-p", "no:cacheprovider", "-c", str(tmp_path / "pytest.ini"), str(tmp_path)],
                "env": os.environ | settings,
                "output": str(folder / "output.txt"),
            }
            worker.stdin.write(json.dumps(asked) + "\n")
            worker.stdin.flush()
            eventually((folder / OVER).exists, within_s=30.0)
            said.append((folder / "output.txt").read_text())
    assert worker.returncode == 0, "the end of its requests is its own"
    assert ["1 failed, 1 passed" in text for text in said] == [True, False, True]
    assert "2 failed" in said[1]
    assert all(f"process {worker.pid}" in text for text in said)
