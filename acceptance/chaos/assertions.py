"""What a chaos case calls: do this fault so many times, and then no write may be amiss.

Does not say how the traffic and the audit go (experiment.py), nor what a run leaves (report.py).
"""

import time
from typing import Any

import pytest

from acceptance.chaos.experiment import ALL, Fault, Scene, Suffered
from acceptance.suite import case as cases
from harness.oracles.history import Kind

SUFFERED = pytest.StashKey[list[Suffered]]()
BEGUN = pytest.StashKey[float]()
SAMPLE_TIMES = 1


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
    ) -> Suffered:
        """times: in a sample once; the rest as Scene.suffer has it."""
        if self._config.option.sample:
            times = min(times, SAMPLE_TIMES)
        suffered = scene.suffer(
            fault, times, case=self._case, name=name, limit_s=recovers_within_s, kinds=kinds, sends_again=sends_again
        )
        self._config.stash[SUFFERED].append(suffered)
        self._say(suffered)
        found, tally = suffered.findings, suffered.tally
        assert not found.missing, f"{len(found.missing)} acknowledged writes are missing: {found.missing[:5]}"
        assert not found.doubled, f"{len(found.doubled)} writes are doubled: {found.doubled[:5]}"
        assert not found.unasked, f"{len(found.unasked)} writes were not asked for: {found.unasked[:5]}"
        assert not suffered.trouble, suffered.trouble
        assert not tally.wrong, f"a good write is acknowledged, or refused with 503: {dict(tally.wrong)}"
        slow = [f"{took_s:.1f} s" for took_s in suffered.recoveries_s if took_s >= recovers_within_s]
        assert not slow, f"recovered after {', '.join(slow)}, not within {recovers_within_s:g} s"
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
