"""Paths of a zone: which are one, what lies above and below them."""

from __future__ import annotations

import pytest

from nexmdm.platform import paths
from nexmdm.platform.rpc_errors import PATH_INVALID, RpcError


@pytest.mark.parametrize("path", ["/", "/a", "/a/b.txt", "/%2e%2e", "/...", "/ü", "/a b", "/" + "s" * 255, "/a\\b"])
def test_a_path_is_taken_as_it_is(path: str) -> None:
    assert paths.canonical(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "/a/",
        "//",
        "//a",
        "/a//b",
        "/.",
        "/a/../b",
        "/a/./b",
        "/a\0",
        "/a\n",
        "/a\x7f",
        "/a\x9f",
        "/u\u0308",
        "/" + "s" * 256,
        "/" + "ü" * 128,
        "/a" * 513,
        "/s" * 5000,
    ],
)
def test_what_two_systems_could_read_in_two_ways_is_refused(path: str) -> None:
    with pytest.raises(RpcError) as refused:
        paths.canonical(path)
    assert refused.value.kind is PATH_INVALID


def test_the_longest_path_has_1024_bytes() -> None:
    longest = ("/" + "s" * 127) * 8
    assert paths.canonical(longest) == longest
    with pytest.raises(RpcError):
        paths.canonical(longest[:-1] + "ü")


def test_the_root_is_no_entry() -> None:
    with pytest.raises(RpcError):
        paths.of_entry("/")


def test_ancestors_and_what_lies_below() -> None:
    assert paths.ancestors("/a/b/c") == ["/a", "/a/b"]
    assert paths.ancestors("/a") == []
    assert paths.below("/a") == ("/a/", "/a0")
    assert paths.below("/") == ("/\x1f", "0")
    first, last = paths.below("/a")
    assert [path for path in ("/a", "/a-b", "/a/b", "/a/ü", "/a0", "/ab") if first < path < last] == ["/a/b", "/a/ü"]
