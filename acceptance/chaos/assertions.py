"""What a chaos case calls: do this fault so many times, and then no write may be amiss.

Does not say how the traffic and the audit go (experiment.py), nor what a run leaves (report.py).
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from acceptance.chaos.experiment import ALL, Fault, Scene, Suffered
from acceptance.suite import case as cases
from harness.oracles.history import Kind

SUFFERED = pytest.StashKey[list[Suffered]]()
BEGUN = pytest.StashKey[float]()
SAMPLE_TIMES = 1


def some_in_the_sample(names: Iterable[str], *sampled: str) -> list[Any]:
    """Parameters of a case that does a fault in several ways: --sample has only these."""
    return [pytest.param(name, marks=() if name in sampled else pytest.mark.whole_run, id=name) for name in names]


class Suffer:
    """suffer(system, "kill -9", killed, times=20, recovers_within_s=5): the fault, and then no write may be amiss."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._config = request.config
        found = cases.of(request.node)
        self._case = found.case_id if found else ""

    def __call__(
        self,
        scene: Scene,
        name: str,
        fault: Fault,
        *,
        times: int = 1,
        recovers_within_s: float = 5.0,
        kinds: tuple[Kind, ...] = ALL,
        sends_again: int = 0,
        fleet_alone: bool = False,
    ) -> Suffered:
        """times: in a sample once; the rest as Scene.suffer has it."""
        if self._config.option.sample:
            times = min(times, SAMPLE_TIMES)
        suffered = scene.suffer(
            fault,
            times,
            case=self._case,
            name=name,
            limit_s=recovers_within_s,
            kinds=kinds,
            sends_again=sends_again,
            fleet_alone=fleet_alone,
        )
        self._config.stash[SUFFERED].append(suffered)
        self._say(suffered)
        amiss = list(_amiss(suffered))
        assert not amiss, "; ".join(amiss)
        return suffered

    def _say(self, suffered: Suffered) -> None:
        """A line as it happens: the whole run takes minutes."""
        capture = self._config.pluginmanager.getplugin("capturemanager")
        terminal: Any = self._config.pluginmanager.getplugin("terminalreporter")
        after_s = time.monotonic() - self._config.stash[BEGUN]
        with capture.global_and_fixture_disabled():
            terminal.ensure_newline()
            terminal.write_line(
                f"[chaos {after_s:5.1f} s] {suffered.case} {suffered.fault}: {suffered.repetitions} times,"
                f" {suffered.tally.acknowledged} acknowledged, {suffered.tally.refused} refused,"
                f" {suffered.tally.unanswered} without an answer ({suffered.took_s:.1f} s)"
            )


def _amiss(suffered: Suffered) -> Iterator[str]:
    found = suffered.findings
    if suffered.trouble:
        yield suffered.trouble
    for what, writes in (
        ("acknowledged writes are missing", found.missing),
        ("writes are doubled", found.doubled),
        ("writes were not asked for", found.unasked),
    ):
        if writes:
            yield f"{len(writes)} {what}: {writes[:5]}"
    if suffered.tally.wrong:
        yield f"a good write is acknowledged, or refused with 503 and Retry-After: {dict(suffered.tally.wrong)}"
    slow = [f"{took_s:.1f} s" for took_s in suffered.recoveries_s if took_s >= suffered.limit_s]
    if slow:
        yield f"recovered after {', '.join(slow)}, not within {suffered.limit_s:g} s"
