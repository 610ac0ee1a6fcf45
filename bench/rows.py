"""The table: every row of performance.md, its limits, and what measures it. It deliberately measures nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench import capacity, commands, crowds, layers, overload, scenarios, scrape, storage
from bench.rig import Rig
from harness.budgets import Judgement, Limit


@dataclass(frozen=True)
class Row:
    """One measurement.

    needs: why --quick leaves it out; empty: it does not. relative: of one program against another, so that a busy
    machine may favour either.
    """

    name: str
    limits: tuple[Limit, ...]
    measure: Callable[[Rig], list[Judgement]]
    needs: str = ""
    relative: bool = False


_A_SCENARIO: Final = "--quick leaves it out: a scenario of minutes"
_MINUTES: Final = "--quick leaves it out: a crowd takes minutes"
_MILLIONS: Final = "--quick leaves it out: ten million rows take minutes"

# The scenario of few beats comes first: one checkpoint of what others have written would be its p99.
ROWS: Final = (
    Row("small", (storage.MIGRATION, storage.RETENTION), storage.small),
    Row("sim20", (scenarios.SIM_P95, scenarios.SIM_P99), scenarios.sim20, _A_SCENARIO),
    Row("single", (commands.IDEMPOTENCY, commands.WRITE), commands.single),
    Row("fanout", (commands.ACCEPTED, commands.SENT), commands.fanout),
    Row("layers", (layers.ADDED,), layers.layers, relative=True),
    Row("fleet", (scenarios.FLEET_P99, scenarios.FLEET_ERRORS), scenarios.fleet, _A_SCENARIO),
    Row("capacity", (capacity.TO_NOOP, capacity.TO_PGBENCH, capacity.TWO_TO_ONE), capacity.capacity, relative=True),
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
    Row("suites", (scenarios.ACCEPTANCE, scenarios.CONTRACT, scenarios.FIRST_SIMULATION), scenarios.suites),
)
