"""Short databases lie in memory where there is room; who chose another place keeps it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ci import scratch


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "NEEDED_BYTES", 1)


def test_a_folder_that_others_can_pass_through_and_that_is_gone_afterwards(tmp_path: Path) -> None:
    with scratch.in_memory({}, tmp_path) as env:
        folder = Path(env["TMPDIR"])
        assert folder.parent == tmp_path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o711
        (folder / "left behind").touch()
    assert not list(tmp_path.iterdir())


def test_the_disk_where_somebody_says_so_or_there_is_no_memory(tmp_path: Path) -> None:
    with scratch.in_memory({"TMPDIR": "/elsewhere"}, tmp_path) as env:
        assert env == {}
    with scratch.in_memory({}, tmp_path / "missing") as env:
        assert env == {}


@pytest.mark.parametrize("short", ["of the file system", "of the machine"])
def test_the_disk_where_room_is_short(short: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if short == "of the machine":
        monkeypatch.setattr(scratch, "_available", lambda: 0)
    else:
        monkeypatch.setattr(scratch, "NEEDED_BYTES", 2**62)
        monkeypatch.setattr(scratch, "_available", lambda: 2**63)
    with scratch.in_memory({}, tmp_path) as env:
        assert env == {}
    assert not list(tmp_path.iterdir())
