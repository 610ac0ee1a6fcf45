"""One mutant for a person: the right one, or a word on what it may have been."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutants import single
from mutants.mutant import CATALOGUE, CatalogueError, read


def test_a_name_that_there_is_not_is_answered_by_those_like_it() -> None:
    mutants = read(CATALOGUE / "sandboxes")
    assert single.find("allocate/no-lock", mutants).id == "allocate/no-lock"
    with pytest.raises(CatalogueError, match="near are cleanup/live-ones-too"):
        single.find("cleanup/live-one", mutants)
    with pytest.raises(CatalogueError, match="called zzz; without a name all are listed"):
        single.find("zzz", mutants)


def test_without_a_name_it_lists_and_with_a_wrong_one_it_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert single.main(["--of", "sandboxes", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert "cleanup/live-ones-too" in listed
    assert "heartbeat/" not in listed
    assert single.main([str(tmp_path), "zzz"]) == 2
    monkeypatch.setenv("NEXMDM_BASE_URL", "http://127.0.0.1:9")
    assert single.main([str(tmp_path), "allocate/no-lock"]) == 2
    assert "unset it" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
