"""The page of attacks: each case and file that it names is there. Whether a case proves it, the case says."""

from __future__ import annotations

import re

from ci import cases
from ci.environments import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`([a-z]+(?:-[a-z]+)*)/([0-9]{3})`((?:, `[0-9]{3}`)*)")


def test_every_case_that_it_names_is_there() -> None:
    named = {f"{noun}/{n}" for noun, first, more in NAMED.findall(PAGE) for n in (first, *re.findall("[0-9]{3}", more))}
    assert len(named) > 50
    assert named - cases.ids(cases.page()) == set()


def test_every_file_that_it_names_is_there() -> None:
    for path in re.findall(r"\| ((?:backend|acceptance)/[a-z_/]+\.py) \|", PAGE):
        assert (ROOT / path).is_file(), path
