"""GET /metrics when much has been counted by several processes. It reads no value but the count."""

from __future__ import annotations

from typing import Final

from bench.rig import HEARTBEAT, Rig, Void, client, counted
from bench.wrk import Wrk
from harness.verdict.thresholds import Judgement, Limit, percentile

_MANY = 1_000_000
_DEVICES = 5_000  # a duplicate is counted like any other
_SCRAPES = 250  # more than the 200 that a p95 wants
SCRAPE: Final = Limit(
    "/metrics after a million heartbeats, two workers: p95", "ms", "<", 20, None, 0.95, source="client, one at a time"
)


def scrape(rig: Rig) -> list[Judgement]:
    """A million heartbeats by two workers, then scrapes one after another."""
    wrk = Wrk(rig.tokens[:_DEVICES])
    with rig.backend(env={"NEXMDM_WORKERS": "2"}) as backend:
        caller = client(backend.base_url, rig.stack.env)
        rig.say(f"scrape: {_MANY} heartbeats")
        while (seen := counted(caller)).ingested + seen.deduplicated < _MANY:
            if load := wrk.round(backend.base_url + HEARTBEAT, 10).bad:
                raise Void(f"{load} heartbeats went wrong")
        elapsed_ms = []
        with rig.meter(backend=backend.pid) as meter:
            for _ in range(_SCRAPES):
                answer = caller.admin("GET", "/metrics")
                if answer.status != 200:
                    raise Void(f"GET /metrics: {answer.status}")
                elapsed_ms.append(answer.elapsed_ms)
        rig.facts["scrape: heartbeats counted"] = counted(caller).ingested + counted(caller).deduplicated
        rig.facts["scrape: p50 ms"] = round(percentile(elapsed_ms, 0.5), 2)
        rig.facts["scrape: CPUs"] = str(meter)
    return [SCRAPE.judge(elapsed_ms)]
