"""The table: every row of performance.md, its limits, what measures it, and what of it `--against` compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench import (
    allocations,
    capacity,
    claims,
    commands,
    crowds,
    heartbeats,
    layers,
    overload,
    replay,
    scenarios,
    scrape,
    storage,
    uploads,
    writes,
)
from bench.pairs import Figure, Turns
from bench.rig import Disturbed, Refused, Rig, Void
from harness.verdict.thresholds import Judgement, Limit, Status


@dataclass(frozen=True)
class Comparison:
    """What two backends are compared by. turns: measures one of them and returns a value per figure.

    It raises Disturbed when that proves nothing, and whatever else breaks says that the backend cannot serve it.
    """

    figures: tuple[Figure, ...]
    turns: Callable[[Rig], Turns[Sequence[float]]]


@dataclass(frozen=True)
class Row:
    """One measurement.

    needs: why --quick leaves it out; empty: it does not. relative: of one program against another, so that a busy
    machine may favour either. compared: by what --against compares it, if not by what its limits observe; alone: why
    another revision has no part in it.
    """

    name: str
    limits: tuple[Limit, ...]
    measure: Callable[[Rig], list[Judgement]]
    needs: str = ""
    relative: bool = False
    compared: Comparison | None = None
    alone: str = ""

    @property
    def comparison(self) -> Comparison:
        """What the limits observe, unless the row has its own. A limit of exactly so many is a condition, no figure."""
        if self.compared is not None:
            return self.compared
        kept = [limit for limit in self.limits if limit.op != "=="]
        figures = (Figure(limit.name, limit.unit, limit.op in (">=", ">")) for limit in kept)
        return Comparison(tuple(figures), self._at_once)

    def _at_once(self, rig: Rig) -> Turns[Sequence[float]]:
        yield
        return observed(self.measure(rig))


def observed(judgements: Sequence[Judgement]) -> list[float]:
    """What was observed, if it proves something. Refused for a broken condition, Void for what was not observed."""
    values = []
    for judged in judgements:
        if judged.limit.op == "==" and judged.status is Status.FAIL:
            raise Refused(f"{judged.limit.name}: {judged.observed:g}")
        if judged.observed is None:
            raise Void(f"{judged.limit.name}: {judged.note or judged.status.value}")
        if judged.status is Status.INCONCLUSIVE:
            raise Disturbed(f"{judged.limit.name}: {judged.note}")
        if judged.limit.op != "==":
            values.append(judged.observed)
    return values


_A_SCENARIO: Final = "--quick leaves it out: a scenario of minutes"
_MINUTES: Final = "--quick leaves it out: a crowd takes minutes"
_MILLIONS: Final = "--quick leaves it out: ten million rows take minutes"

# The scenario of few beats comes first: one checkpoint of what others have written would be its p99.
ROWS: Final = (
    Row("small", (storage.MIGRATION, storage.RETENTION), storage.small),
    Row("sim20", (scenarios.SIM_P95, scenarios.SIM_P99), scenarios.sim20, _A_SCENARIO),
    Row(
        "single",
        (commands.IDEMPOTENCY, commands.WRITE),
        commands.single,
        compared=Comparison(commands.SINGLE_FIGURES, commands.single_in_turns),
    ),
    Row(
        "fanout",
        (commands.ACCEPTED, commands.SENT),
        commands.fanout,
        compared=Comparison(commands.FANOUT_FIGURES, commands.fanout_in_turns),
    ),
    Row("layers", (layers.ADDED,), layers.layers, relative=True, alone="it compares a backend with parts of itself"),
    Row("fleet", (scenarios.FLEET_P99, scenarios.FLEET_ERRORS), scenarios.fleet, _A_SCENARIO),
    Row(
        "capacity",
        (capacity.TO_NOOP, capacity.TO_PGBENCH, capacity.TWO_TO_ONE),
        capacity.capacity,
        relative=True,
        compared=Comparison(heartbeats.FIGURES, heartbeats.in_turns),
    ),
    Row("allocations", (allocations.TO_PGBENCH,), allocations.allocations, relative=True),
    Row("writes", (writes.OVER_ZONES, writes.IN_ONE), writes.writes, relative=True),
    Row("claims", (claims.PER_S,), claims.claims),
    Row("replay", (replay.PER_S, replay.TO_SQL), replay.replay, relative=True),
    Row("uploads", (uploads.TO_BARE,), uploads.uploads, relative=True),
    Row(
        "overload",
        overload.LIMITS,
        overload.overload,
        _MINUTES,
    ),
    Row("wrong-tokens", (crowds.WRONG_COST, crowds.WRONG_P99), crowds.wrong_tokens),
    Row("reconnect", (crowds.BACK, crowds.BACK_P99, crowds.BACK_BAD), crowds.reconnect, _MINUTES),
    Row("scrape", (scrape.SCRAPE,), scrape.scrape, "--quick leaves it out: a million heartbeats take minutes"),
    Row("size", (storage.FULL_TO_EMPTY,), storage.size, _MILLIONS, relative=True),
    Row("drop", (storage.DROP, storage.MEANWHILE), storage.drop, _MILLIONS),
    Row(
        "suites",
        (scenarios.ACCEPTANCE, scenarios.CONTRACT, scenarios.FIRST_SIMULATION),
        scenarios.suites,
        alone="it looks at the last runs of suites, and at no backend",
    ),
)
# What --against compares unless rows are named: heartbeats and commands, in a few minutes.
COMPARED: Final = ("capacity", "single", "fanout")
