"""Crowds that cost bcrypt: wrong tokens, and a fleet that comes back after a restart; beside each, devices as usual.

It judges the crowd by what it costs, and the usual devices by what they notice.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from typing import Final

from bench import steady
from bench.cpu import tree_s
from bench.flood import Order, Outcome, Stage, flood
from bench.overload import apart, spare_cpu, token_file, told
from bench.rig import HEARTBEAT, Rig, Void
from bench.wrk import Wrk
from harness.devices.seeded_fleet import seed
from harness.stack.backend import Backend
from harness.verdict.thresholds import Judgement, Limit, Status, percentile

_USUAL: Final = "open loop, 100/s of devices that are known"
WRONG_COST: Final = Limit("10,000 wrong tokens", "CPU s", "<", 20, source="backend and PostgreSQL, less without them")
WRONG_P99: Final = Limit("heartbeat p99 beside wrong tokens", "ms", "<", 150, None, 0.99, source=_USUAL)
BACK: Final = Limit(
    "10,000 devices after a restart: until all are heard",
    "s",
    "<",
    10,
    breach=Status.TARGET_MISSED,
    source="client",
)
BACK_P99: Final = Limit("heartbeat p99 beside their return", "ms", "<", 150, None, 0.99, source=_USUAL)
BACK_BAD: Final = Limit("answers to them that no device can act on", "", "==", 0, source="not 200, and no shed")

_CROWD: Final = 10_000
_WRONG_PER_S: Final = 500.0
_BACK_PER_S: Final = 2_000.0
_USUAL_PER_S: Final = 100.0
_USUAL_DEVICES: Final = 500
_NAME: Final = len("nxd_") + 32 + len("_")  # of a token: what names the device
_REAL_COST: Final = 10
_PIECE_S: Final = 20.0


@contextlib.contextmanager
def _beside(order: Order) -> Iterator[tuple[list[Outcome], threading.Thread]]:
    """A thread that waits for the flood, beside the block; the outcomes stand in the list when the block has ended."""
    outcomes: list[Outcome] = []
    trouble: list[Exception] = []

    def run() -> None:
        try:
            outcomes.extend(flood(order))
        except Exception as error:  # noqa: BLE001 - raised where somebody can judge it
            trouble.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield outcomes, thread  # whoever breaks off does not wait: the flood ends with us
    thread.join()
    if trouble:
        raise Void(f"the flood: {trouble[0]}")


def _spent_s(rig: Rig, backend: Backend) -> float:
    return sum(tree_s(pid) for pid in (backend.pid, rig.postgres_pid()) if pid is not None)


def wrong_tokens(rig: Rig) -> list[Judgement]:
    """Tokens that name devices which there are, each with another secret, at the limits that a service has."""
    usual = rig.tokens[:_USUAL_DEVICES]
    crowd = seed(rig.stack.target.database_url or "", _CROWD // 10 if rig.plan.quick else _CROWD, cost=_REAL_COST)
    named = [device.token[:_NAME] for device in crowd]
    # Both shapes: today's, and that of tokens which carry no check.
    lengths = (len(usual[0]) - _NAME, 43)
    forged = [name + secrets.token_urlsafe(64)[: lengths[n % 2]] for n, name in enumerate(named)]
    seconds = len(forged) / _WRONG_PER_S
    with rig.backend(env={"NEXMDM_LIMIT_AUTH_FAIL": "600/60"}) as backend:
        url = backend.base_url + HEARTBEAT
        Wrk(usual).warm(url)
        spent = [_spent_s(rig, backend)]
        alone = steady.send(url, usual, _USUAL_PER_S, seconds)
        spent.append(_spent_s(rig, backend))
        stage = Stage(_WRONG_PER_S, seconds, "answered")
        order = Order(url, token_file(forged), (stage,), cpu=spare_cpu(), patient=False)
        with apart(rig, backend), _beside(order) as (outcomes, _):
            beats = steady.send(url, usual, _USUAL_PER_S, seconds)
        spent.append(_spent_s(rig, backend))
    (outcome,) = outcomes
    refused = sum(outcome.statuses.get(status, 0) for status in ("401", "429", "503"))
    if refused < 0.99 * len(forged):
        raise Void(f"of {len(forged)} wrong tokens {refused} were refused: {told(outcome)}")
    rig.facts["wrong tokens: answers"] = str(outcome.statuses)
    rig.facts["wrong tokens: usual heartbeats without them, p99 ms"] = _p99(alone)
    cost_s = (spent[2] - spent[1]) - (spent[1] - spent[0])
    return [
        WRONG_COST.judge_value(cost_s * _CROWD / len(forged), len(forged)),
        WRONG_P99.judge(steady.latencies_ms(beats)),
    ]


def reconnect(rig: Rig) -> list[Judgement]:
    """Devices whose tokens cost a real bcrypt check each send at once to a process that has seen none of them."""
    target = rig.stack.target
    crowd = [device.token for device in seed(target.database_url or "", _CROWD, cost=_REAL_COST)]
    usual = rig.tokens[:_USUAL_DEVICES]
    beats: list[steady.Beat] = []
    with rig.backend() as backend:
        url = backend.base_url + HEARTBEAT
        Wrk(usual).warm(url)
        stage = Stage(_BACK_PER_S, _CROWD / _BACK_PER_S, "heard")
        # It needs no CPU of its own. A device that has to wait for minutes hangs up: another may have its connection.
        order = Order(url, token_file(crowd), (stage,), patient=False)
        with _beside(order) as (outcomes, crowding):
            while crowding.is_alive():
                beats += steady.send(url, usual, _USUAL_PER_S, _PIECE_S)
                rig.say(f"reconnect: {len(beats) / _USUAL_PER_S:.0f} s, usual heartbeats p99 {_p99(beats)} ms")
    (outcome,) = outcomes
    rig.facts["reconnect: the crowd"] = f"{told(outcome)}; {outcome.statuses}"
    heard = outcome.heard_s if outcome.answered >= _CROWD else None
    return [
        BACK.judge_value(heard, outcome.answered),
        BACK_P99.judge(steady.latencies_ms(beats)),
        BACK_BAD.judge_value(outcome.mute + sum(outcome.other.values()), outcome.answered),
    ]


def _p99(beats: list[steady.Beat]) -> float:
    return round(percentile(steady.latencies_ms(beats), 0.99), 2)
