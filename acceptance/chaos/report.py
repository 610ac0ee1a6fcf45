"""What a chaos run leaves: chaos.json, the table at its end, and the limits of its result.json.

Does not decide what a fault is worth: a case fails by itself; the limits sum the faults up.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from acceptance.chaos.experiment import Suffered
from harness.oracles.history import KINDS, Tally
from harness.verdict.artifacts import write_json
from harness.verdict.thresholds import Judgement, Limit, Status

NAME: Final = "chaos.json"
_SHOWN: Final = 20  # of each kind of disagreement
_LEDGER: Final = "ledger against database and FCM"
_RECOVERY: Final = "healed to the first acknowledged write"
_KINDS_HEAD: Final = ("kind of write", "asked", "acknowledged", "refused", "no answer")
_HEAD: Final = (
    "fault", "times", "asked", "acknowledged", "refused", "no answer", "missing", "doubled", "unasked", "landed",
    "recovery s", "worst s", "whole s", "deleted s",
)  # fmt: skip


def document(rows: Sequence[Suffered], *, sample: bool) -> dict[str, Any]:
    """chaos.json."""
    return {"sample": sample, "faults": [_entry(row) for row in rows]}


def _entry(row: Suffered) -> dict[str, Any]:
    tally, found = row.tally, row.findings
    return {
        "fault": row.fault,
        "case": row.case,
        "repetitions": row.repetitions,
        **_counts(tally),
        "wrong": dict(sorted(tally.wrong.items())),
        "kinds": {kind: _counts(counted) for kind, counted in row.kinds.items() if counted.asked},
        "missing": len(found.missing),
        "doubled": len(found.doubled),
        "unasked": len(found.unasked),
        "landed": len(found.landed),
        "examples": [*found.missing[:_SHOWN], *found.doubled[:_SHOWN], *found.unasked[:_SHOWN]],
        "recovery_median_s": round(median(row.recoveries_s), 3) if row.recoveries_s else None,
        "recovery_worst_s": round(max(row.recoveries_s), 3) if row.recoveries_s else None,
        "whole_worst_s": round(max(row.whole_s), 3) if row.whole_s else None,
        "caught_up_worst_s": round(max(row.caught_up_s), 3) if row.caught_up_s else None,
        "limit_s": row.limit_s,
        "took_s": round(row.took_s, 1),
        "trouble": row.trouble,
    }


def _counts(tally: Tally) -> dict[str, int]:
    return {name: getattr(tally, name) for name in ("asked", "acknowledged", "refused", "unanswered")}


def limits(rows: Sequence[Suffered]) -> Iterator[Judgement]:
    """Of all faults together what the ledger found, of each how long recovery took. No write: no verdict."""
    acknowledged = sum(row.tally.acknowledged for row in rows)
    for name in ("missing", "doubled", "unasked"):
        seen = sum(len(getattr(row.findings, name)) for row in rows)
        yield Limit(name, "writes", "==", 0, source=_LEDGER).judge_value(seen, acknowledged)
    wrong = sum(row.tally.wrong.total() for row in rows)
    yield Limit("refused with another status than 503", "writes", "==", 0).judge_value(wrong, acknowledged)
    for row in rows:
        guard = Limit(f"acknowledged: {row.fault}", "writes", ">=", 1, breach=Status.INCONCLUSIVE)
        yield guard.judge_value(row.tally.acknowledged, max(row.tally.asked, 1))
        recovery = Limit(f"recovery: {row.fault}", "s", "<", row.limit_s, quantile=1.0, source=_RECOVERY)
        yield recovery.judge(row.recoveries_s)


def lines(rows: Sequence[Suffered]) -> list[str]:
    """The table for a terminal: a line per fault, in columns."""
    return [*_in_columns([_HEAD, *(_cells(_entry(row)) for row in rows)]), *_in_columns(_by_kind(rows))]


def _in_columns(table: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in table
    ]


def markdown(rows: Sequence[Suffered]) -> str:
    """The same for summary.md."""
    return _as_markdown([_HEAD, *(_cells(_entry(row)) for row in rows)]) + _as_markdown(_by_kind(rows))


def _as_markdown(table: Sequence[tuple[str, ...]]) -> str:
    head, *body = table
    lines = [head, ("---", *["---:"] * (len(head) - 1)), *body]
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _by_kind(rows: Sequence[Suffered]) -> list[tuple[str, ...]]:
    """A line per kind of write, over all faults."""
    table: list[tuple[str, ...]] = [_KINDS_HEAD]
    for kind in KINDS:
        sums = Counter[str]()
        for row in rows:
            sums.update(_counts(row.kinds[kind]) if kind in row.kinds else {})
        if sums["asked"]:
            table.append((kind, *(f"{sums[name]:,}" for name in ("asked", "acknowledged", "refused", "unanswered"))))
    return table


def _cells(entry: dict[str, Any]) -> tuple[str, ...]:
    counts = (
        "repetitions",
        "asked",
        "acknowledged",
        "refused",
        "unanswered",
        "missing",
        "doubled",
        "unasked",
        "landed",
    )
    times = ("recovery_median_s", "recovery_worst_s", "whole_worst_s", "caught_up_worst_s")
    seconds = ("-" if entry[name] is None else f"{entry[name]:.2f}" for name in times)
    return (entry["fault"], *(f"{entry[name]:,}" for name in counts), *seconds)


def write(folder: Path, rows: Sequence[Suffered], *, sample: bool) -> None:
    write_json(folder / NAME, document(rows, sample=sample), "chaos")
