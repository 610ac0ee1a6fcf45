"""Numbers, times and verdicts as people read them. It knows no HTML: escaping is the template's."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

_TERMINAL: Final = re.compile(r"(?:\x1b|\x9b|#x1B)(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])?")
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")

SIGNS: Final = {
    "pass": "✓",
    "fail": "✗",
    "inconclusive": "?",
    "disabled": "–",  # noqa: RUF001  # a dash that is seen
    "target missed": "↗",
}
MEANING: Final = {
    "pass": "Everything that this run could judge holds.",
    "fail": "The product broke at least one limit or check, and was seen doing so.",
    "inconclusive": "The run proves nothing, neither for nor against the product. It never counts as a pass.",
}
NOT_YET: Final = "Everything that must hold does. A target is not reached yet; that fails nothing."
OPERATORS: Final = {"<": "<", "<=": "≤", "==": "=", ">=": "≥", ">": ">"}
CAPABILITIES: Final = {
    "database": "rows",
    "logs": "log lines",
    "fcm": "messages to FCM",
    "provider": "requests to the provider",
    "process": "processes of the backend",
}


def meaning(result: Mapping[str, Any]) -> str:
    """What the verdict says, in one or two sentences."""
    missed = any(limit["status"] == "target missed" for limit in result["limits"])
    return NOT_YET if missed and result["verdict"] == "pass" else MEANING[result["verdict"]]


def clean(text: object) -> str:
    """Text without terminal codes; a control character, a lone surrogate or a change of direction becomes U+FFFD."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", _TERMINAL.sub("", str(text).replace("\r\n", "\n")))


def number(value: float) -> str:
    """Three significant digits and thousands separators, never an exponent; whole numbers stay whole."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    decimals = 2 - math.floor(math.log10(abs(value)))
    text = f"{value:,.{min(decimals, 9)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def quantity(value: float | None, unit: str) -> str:
    """`6.31 ms`, `20 devices`, `500/s`, `none`."""
    gap = "" if unit.startswith(("/", "%")) else " "
    return "none" if value is None else f"{number(value)}{gap}{unit}".rstrip()


def span(seconds: float) -> str:
    """A duration: `31.3 s`, `2 min 5 s`, `1 h 30 min`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (0 if hours else rest, "s"))
    return " ".join(f"{value} {unit}" for value, unit in parts if value)


def moment(timestamp: str) -> str:
    """`21 November 2026, 12:30:51 UTC` of an RFC 3339 time."""
    at = datetime.fromisoformat(timestamp)
    return f"{at.day} {at:%B %Y, %H:%M:%S} UTC"


def percentile(quantile: float) -> str:
    """`p99.9` of 0.999; 1 is the slowest."""
    return "slowest" if quantile >= 1 else f"p{quantile * 100:.6g}"


def plural(n: int, one: str, many: str | None = None) -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def tally(judged: list[dict[str, Any]], one: str) -> str:
    """`11 of 12 limits hold, 1 disabled`; empty where there are none."""
    if not judged:
        return ""
    counts = {status: sum(item["status"] == status for item in judged) for status in SIGNS}
    rest = [f"{counts['fail']} failed" * bool(counts["fail"])]
    rest += [plural(counts["target missed"], "target missed", "targets missed") * bool(counts["target missed"])]
    rest += [f"{counts[word]} {word}" * bool(counts[word]) for word in ("inconclusive", "disabled")]
    held = f"{counts['pass']} of {plural(len(judged), one)} hold" + "s" * (len(judged) == 1)
    return ", ".join([held, *filter(None, rest)])
