"""The limits of a command to a whole fleet, judged, and its figures. It asks the target nothing.

Every limit is on the slowest round, and says which that was. Sources: performance.md, seed 000 B (answers of devices).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.verdict.thresholds import Judgement, Limit, Status, percentile
from load.measurements.samples import Sample, Samples
from load.simulation.checks import FANOUT_CHECKS
from load.simulation.observer import Observations
from load.simulation.run import COMMAND, RESULT, SimulationRun
from load.simulation.thresholds import notes, write_samples
from load.verdict.guards import lag_limit, least, on_time_share, sent_limit, voided_by
from load.verdict.verdict import Criteria, Facts

_SEVERITY = {Status.PASS: 0, Status.DISABLED: 0, Status.INCONCLUSIVE: 1, Status.FAIL: 2}


@dataclass(frozen=True)
class Round:
    """One command, the dispatches that it made, and the devices' results."""

    command: Sample
    results: list[Sample]
    views: list[dict[str, Any]]


def _rounds(run: SimulationRun, seen: Observations) -> list[Round]:
    """A round ends where the next command is sent: by then all devices have reported, or were given up."""
    commands = run.samples.of(COMMAND)
    ends = [*(command.sent for command in commands), float("inf")][1:]
    return [
        Round(
            command,
            [result for result in run.samples.of(RESULT) if command.sent <= result.intended < end],
            [view for view in seen.dispatches.value or [] if view["command_request_id"] == command.device],
        )
        for command, end in zip(commands, ends, strict=True)
    ]


def _slowest(limit: Limit, judged: Sequence[Judgement]) -> Judgement:
    """The worst of the rounds; of equals, the one with the highest value."""
    if not judged:
        return limit.judge([])
    number, worst = max(enumerate(judged, 1), key=lambda one: (_SEVERITY[one[1].status], one[1].observed or 0.0))
    which = f"round {number} of {len(judged)}"
    return replace(worst, note=f"{which}: {worst.note}" if worst.note else which)


def _sent_after_s(run: SimulationRun, one: Round) -> list[float]:
    """From the command's row to each send. A send that never was is no quick one: it counts as our whole patience."""
    seconds = [(view["sent_at"] - view["created_at"]).total_seconds() for view in one.views if view["sent_at"]]
    return seconds + [run.scenario.message_within_s] * (run.scenario.devices - len(seconds))


def judgements(run: SimulationRun, seen: Observations | None) -> list[Judgement]:
    """Every limit, judged. Latencies are void when the generator itself was late."""
    seen = seen or Observations()
    devices, timeout_s = run.scenario.devices, run.scenario.request_timeout_s
    rounds = _rounds(run, seen)
    results = run.samples.of(RESULT)
    client = "client: answered - intended, slowest round"
    accepted = Limit("command accepted", "ms", "<", 200, 1, 1.0, source="client: answer of /admin/command")
    sends = Limit("FCM sends done", "s", "<", 5, 1, 1.0, source="database: last sent_at - created_at, slowest round")
    # No source names a limit. A thousand results within two seconds queue; a device that waits so long is still well.
    p95 = Limit("results p95", "ms", "<", 300, least(0.95, devices), 0.95, source=client)
    p99 = Limit("results p99", "ms", "<", 600, least(0.99, devices), 0.99, source=client)

    def by_round(limit: Limit, samples: Sequence[list[float]]) -> Judgement:
        return _slowest(limit, [limit.judge(of_round) for of_round in samples])

    latencies = [Samples(one.results).latencies(timeout_s, RESULT) for one in rounds]
    read = seen.dispatches.value is not None
    timed = [
        by_round(accepted, [Samples([one.command]).latencies(timeout_s, COMMAND) for one in rounds]),
        by_round(sends, [_sent_after_s(run, one) for one in rounds] if read else []),
        by_round(p95, latencies),
        by_round(p99, latencies),
    ]
    errors = Limit("result error rate", "", "<", 0.01, least(0.95, devices), source="client: not 200, or no answer")
    failed = sum(not result.ok for result in results) / len(results) if results else None
    wanted = len(run.devices)
    views = [view for one in rounds for view in one.views]
    counted = [errors.judge_value(failed, len(results))]
    for name, count in (
        ("commands sent", sum(view["sent_at"] is not None for view in views)),
        ("commands completed", sum(view["status"] == "completed" for view in views)),
    ):
        limit = Limit(name, "devices", "==", wanted, source="database: fcm_dispatches, all rounds")
        counted.append(limit.judge_value(count if read else None, wanted))
    guards = _guards(run, results)
    return [*voided_by(run, timed, guards), *counted, *guards]


def _guards(run: SimulationRun, results: list[Sample]) -> list[Judgement]:
    return [
        sent_limit().judge_value(on_time_share(results, len(results)), len(results)),
        lag_limit(run.scenario).judge_value(run.samples.lag_p99_ms(RESULT), len(results)),
    ]


def _facts(run: SimulationRun) -> Facts:
    rounds = _rounds(run, Observations())
    p95s = [percentile([result.latency_ms for result in one.results], 0.95) for one in rounds if one.results]
    return {
        "accepted by round, ms": " / ".join(f"{one.command.latency_ms:.0f}" for one in rounds) or None,
        "results p95 by round, ms": " / ".join(f"{p95:.1f}" for p95 in p95s) or None,
        "commands completed": run.completed,
    }


CRITERIA = Criteria(FANOUT_CHECKS, judgements, _facts, notes, write_samples)
