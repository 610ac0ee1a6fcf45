"""The preference `wait` of a request (RFC 7240, section 4.3): for how many seconds its client would wait."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

MOST_S: Final = 30

# What repeats a character is possessive: spaces that two of them could divide would be tried in 2 ** n ways.
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_PAIR: Final = rf'({_WORD})(?:[ \t]*+=[ \t]*+({_WORD}|"(?:[^"\\]|\\.)*")?)?'
_PREFERENCE: Final = re.compile(rf"[ \t]*+{_PAIR}(?:[ \t]*+;(?:[ \t]*+{_PAIR})?)*[ \t]*+(?:,|\Z)")
_SECONDS: Final = re.compile('"?0*+([0-9]{1,3})[0-9]*+"?')  # three digits are more than we wait, whatever follows


def wait_s(values: Sequence[str]) -> int:
    """Whole seconds up to MOST_S, of all Prefer headers; 0: no such preference, or one that is malformed.

    Of several the first counts (section 2). A server decides for how long it honours one: a longer wait is MOST_S.
    """
    text, at, wanted = ",".join(values), 0, None
    while at < len(text):
        preference = _PREFERENCE.match(text, at)
        if preference is None:
            return 0
        if wanted is None and preference[1].lower() == "wait":
            wanted = preference[2] or ""
        at = preference.end()
    seconds = _SECONDS.fullmatch(wanted or "")
    return 0 if seconds is None else min(MOST_S, int(seconds[1]))
