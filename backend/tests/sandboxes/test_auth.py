"""The headers of a track: which one counts, what is absent, what is refused."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from nexmdm.kernel.problems import Problem
from nexmdm.sandboxes.auth import optional_header
from nexmdm.sandboxes.problems import TRACK_ID_INVALID


def request_with(*values: bytes) -> Request:
    return Request({"type": "http", "headers": [(b"x-track-id", value) for value in values]})


def read(*values: bytes) -> str | None:
    return optional_header(request_with(*values), "X-Track-ID", TRACK_ID_INVALID)


@pytest.mark.parametrize(
    "values,says",
    [
        ([], None),
        ([b""], None),
        ([b"   "], None),
        ([b" " * 255], None),
        ([b"t"], "t"),
        ([b"  lab one  "], "lab one"),
        ([b"~" * 255], "~" * 255),
    ],
)
def test_what_a_header_says(values: list[bytes], says: str | None) -> None:
    assert read(*values) == says


@pytest.mark.parametrize(
    "values",
    [
        [b"t" * 256],
        [b"t" * 3_000],
        [b"a\tb"],
        [b"a\x00b"],
        [b"a\x7fb"],
        ["straße".encode()],
        [b"caf\xe9"],
        [b"one", b"two"],
        [b"one", b"one"],
        [b"", b"one"],
    ],
)
def test_what_is_refused(values: list[bytes]) -> None:
    with pytest.raises(Problem) as refused:
        read(*values)
    assert (refused.value.code, refused.value.status) == ("track_id_invalid", 400)
