"""Tests of the record of a run."""

from pathlib import Path

import pytest

from harness.sandboxes.calls import ALLOCATE, RELEASE, Call, read_calls, write_calls


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    calls = [
        Call(ALLOCATE, 'track,"1"', 1000.125, 1000.5, 201, "load-a-1", 1000, 15400),
        Call(ALLOCATE, "track-2", 1000.25, 1001.0, 409),
        Call(RELEASE, "track-3", 1000.5, 1010.5, 0, "load-a-2"),
    ]
    write_calls(tmp_path / "calls.csv.gz", calls)
    assert list(read_calls(tmp_path / "calls.csv.gz")) == calls


@pytest.mark.parametrize("content", [b"", b"kind,track_id\n", b"\x1f\x8b\x08"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "calls.csv.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="calls"):
        list(read_calls(path))
