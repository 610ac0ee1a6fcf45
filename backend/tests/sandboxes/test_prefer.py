"""Prefer: which wait counts, what is malformed, and that none of it costs more than its length."""

from __future__ import annotations

from time import perf_counter

import pytest

from nexmdm.sandboxes.prefer import wait_s


@pytest.mark.parametrize(
    "values,seconds",
    [
        ([], 0),
        ([""], 0),
        (["wait=5"], 5),
        (["WAIT = 10"], 10),
        (['wait="7"'], 7),
        (["wait=00012"], 12),
        (["wait=0"], 0),
        (["wait=30"], 30),
        (["wait=31"], 30),
        (["wait=" + "9" * 5000], 30),
        (["respond-async, wait=10"], 10),
        (["respond-async;x=1 ; y, wait=10; z"], 10),
        (['foo="a,wait=5", wait=10'], 10),
        (["wait=5, wait=9"], 5),
        (["wait=5", "wait=9"], 5),
        (["wait=5,"], 5),
        (["wait"], 0),
        (["wait="], 0),
        (["wait, wait=5"], 0),
        (["wait=-1"], 0),
        (["wait=1.5"], 0),
        (["wait=1e3"], 0),
        (["wait=5 s"], 0),
        (["=5"], 0),
        (['wait="5'], 0),
        (["wait=5", "{"], 0),
        (["wait=\u0665"], 0),
    ],
)
def test_what_is_preferred(values: list[str], seconds: int) -> None:
    assert wait_s(values) == seconds


@pytest.mark.parametrize(
    "value",
    [
        " " * 60_000,
        ";" * 60_000,
        "a" * 60_000 + "(",
        'a="' + "\\" * 60_000,
        "a;" * 30_000,
        "a" + "; a= " * 25 + "(",
        "a" + "; a " * 10_000 + "(",
        "a= " + " " * 60_000 + "(",
        "wait=" + "0" * 60_000 + "x",
    ],
)
def test_a_long_header_is_read_once(value: str) -> None:
    started = perf_counter()
    wait_s([value])
    assert perf_counter() - started < 0.5
