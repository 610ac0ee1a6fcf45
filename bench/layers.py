"""What logging, metrics and the request id cost a heartbeat: the same backend with each of them taken out.

The product has no such switches: each backend runs a copy of the installed package, with a few lines at the end of its
modules. Each is looked at, to see that what was taken out is gone. It changes nothing else.
"""

from __future__ import annotations

import contextlib
import statistics
from dataclasses import dataclass, field
from typing import Final

from bench import steady
from bench.rig import HEARTBEAT, Rig, Void, client, counted, listed
from bench.wrk import BODY, Wrk
from harness.mutation.backend_copy import build, installed
from harness.processes.child import workspace
from harness.stack.backend import Backend
from harness.verdict.thresholds import Judgement, Limit, percentile

_RATE = 200.0
_DEVICES = 2_100  # more than ten seconds' worth: no beat is a duplicate
ADDED: Final = Limit(
    "logging + metrics + request id: added p95",
    "ms",
    "<",
    1,
    source=f"open loop, {_RATE:g} heartbeats/s; median difference of interleaved pairs, all on - all off",
)

# Appended, so that no change of the modules' own text makes them stale. Log level error would do for the lines, but the
# harness learns the port from one of them.
_NO_LOGS: Final = """
_emit = emit
def emit(event, level="info", **fields):
    if level == "error" or event == "service.start":
        _emit(event, level, **fields)
"""
_NO_METRICS: Final = """
Counter.inc = Histogram.observe = lambda self, amount=1, exemplar=None: None
"""
_NO_REQUEST_ID: Final = """
def request_id(headers):
    return "-"
"""


@dataclass(frozen=True)
class Layer:
    """What is taken out."""

    name: str
    logs: bool = True
    metrics: bool = True
    request_id: bool = True


ALL_ON, ALL_OFF = Layer("all on"), Layer("all off", False, False, False)
LAYERS: Final = (
    ALL_ON,
    Layer("no logs", logs=False),
    Layer("no metrics", metrics=False),
    Layer("no request id", request_id=False),
    ALL_OFF,
)


def _command(rig: Rig, layer: Layer) -> str:
    """The `nexmdm` of a layer: a copy for all of them, so that they differ in nothing else."""
    folder = workspace("layer")
    script = build(rig.stack.command, installed(rig.stack.command), None, folder)
    for wanted, name, text in (
        (layer.logs, "kernel/log.py", _NO_LOGS),
        (layer.metrics, "kernel/metrics.py", _NO_METRICS),
        (layer.request_id, "http/access_log.py", _NO_REQUEST_ID),
    ):
        if not wanted:
            with (folder / "nexmdm" / name).open("a", encoding="utf-8") as file:
                file.write(text)
    return str(script)


@dataclass
class _Seen:
    """A layer's backend, and the p95 of each of its rounds."""

    layer: Layer
    backend: Backend
    p95_ms: list[float] = field(default_factory=list)


def _see_that_it_is_off(rig: Rig, seen: _Seen, token: str) -> None:
    """Void unless the backend does what its layer says, and nothing less."""
    caller = client(seen.backend.base_url, rig.stack.env)
    before = counted(caller)
    headers = {"Content-Type": "application/json"}
    answer = caller.bearer(token, "POST", HEARTBEAT, content=BODY.encode(), headers=headers, request_id="bench-layer")
    found = counted(caller).since(before)
    really = (
        '"http.request"' in seen.backend.log_file.read_text(),  # of the thousands of beats that came before
        found.ingested + found.deduplicated == 1,
        answer.headers.get("x-request-id") == "bench-layer",
    )
    wanted = (seen.layer.logs, seen.layer.metrics, seen.layer.request_id)
    if answer.status != 200 or really != wanted:
        raise Void(f"layer '{seen.layer.name}': logs, metrics, request id are {really}, not {wanted}")


def layers(rig: Rig) -> list[Judgement]:
    """The p95 that the three add together; each alone is a fact."""
    plan, tokens = rig.plan, rig.tokens[:_DEVICES]
    chosen = (ALL_ON, ALL_OFF) if plan.quick else LAYERS
    warm = Wrk(tokens)
    lags: list[float] = []
    with contextlib.ExitStack() as parts:
        all_seen = []
        for layer in chosen:
            backend = parts.enter_context(rig.backend(_command(rig, layer)))
            all_seen.append(_Seen(layer, backend))
            warm.warm(backend.base_url + HEARTBEAT)
            _see_that_it_is_off(rig, all_seen[-1], tokens[0])
        with rig.meter() as meter:
            for _ in range(plan.rounds):
                for seen in all_seen:
                    beats = steady.send(seen.backend.base_url + HEARTBEAT, tokens, _RATE, plan.round_s)
                    if why := steady.trouble(beats):
                        raise Void(f"layer '{seen.layer.name}': {why}")
                    seen.p95_ms.append(percentile(steady.latencies_ms(beats), 0.95))
                    lags.append(steady.lag_p99_ms(beats))
    for seen in all_seen:
        rig.facts[f"layers: {seen.layer.name}, p95 ms"] = listed(seen.p95_ms)
    rig.facts["layers: generator lag p99 ms, worst round"] = round(max(lags), 2)
    rig.facts["layers: CPUs"] = str(meter)
    on, off = all_seen[0].p95_ms, all_seen[-1].p95_ms
    return [ADDED.judge_value(statistics.median(a - b for a, b in zip(on, off, strict=True)), len(on))]
