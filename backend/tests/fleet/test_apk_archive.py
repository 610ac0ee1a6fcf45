"""Telling an APK from what is none, on files that are broken in every way."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from support.apks import apk

from nexmdm.fleet.apk.archive import is_apk


def broken_archives() -> Iterator[Any]:
    good = apk(b"x" * 100)
    yield pytest.param(apk(names=("AndroidManifest.xm",)), False, id="no manifest")
    yield pytest.param(apk(names=("res/AndroidManifest.xml",)), False, id="manifest elsewhere")
    yield pytest.param(b"MZ" + good, False, id="something in front")
    yield pytest.param(good + b"\n", False, id="something behind")
    yield pytest.param(good[:-1], False, id="cut off")
    yield pytest.param(good.replace(b"PK\x03\x04", b"PK\x03\x05", 1), False, id="no local header")
    yield pytest.param(good.replace(b"PK\x01\x02", b"PK\x01\x03", 1), False, id="no directory entry")
    yield pytest.param(b"PK\x05\x06" + bytes(18), False, id="empty archive")
    yield pytest.param(b"PK\x03\x04", False, id="four bytes")
    yield pytest.param(good, True, id="good")
    yield pytest.param(apk(comment=b"hello PK\x05\x06 world"), True, id="a comment like a directory's end")
    yield pytest.param(apk(comment=b"x" * 65535), True, id="the longest comment")
    yield pytest.param(apk(names=("a", "b", "AndroidManifest.xml")), True, id="manifest not first")


@pytest.mark.parametrize("content,expected", list(broken_archives()))
def test_an_apk_is_told_from_what_is_none(content: bytes, expected: bool) -> None:
    assert is_apk(io.BytesIO(content)) is expected


def test_no_damage_makes_the_check_fail() -> None:
    good = apk(b"x" * 50)
    for at in range(len(good)):
        for value in (0, 0xFF, good[at] ^ 1):
            is_apk(io.BytesIO(good[:at] + bytes([value]) + good[at + 1 :]))
        assert not is_apk(io.BytesIO(good[:at]))
