"""The checks of a simulation that read the backend's log, and the lines that show why one failed."""

from __future__ import annotations

import json
from collections import defaultdict

from harness.oracles import log_schemas
from harness.oracles.secret_scan import Search
from harness.settings import SECRETS
from harness.verdict.thresholds import Check, Status
from load.measurements.observations import Line, is_error
from load.simulation.observer import Observations
from load.simulation.run import SimulatedDevice, SimulationRun
from load.verdict.check import Finding, RunCheck

_STEPS = ("dispatch.request", "dispatch.sent", "action_result.ingest")
_MOST_SHOWN = 20


def _chains(run: SimulationRun, seen: Observations) -> dict[str, tuple[SimulatedDevice, list[Line]]]:
    """Per command: its device and the lines of its chain, in order of time."""
    found: dict[str | None, list[Line]] = defaultdict(list)
    for line in sorted(seen.lines.get(), key=lambda line: str(line.get("ts"))):
        if line.get("event") in _STEPS:
            found[line.get("dispatch_request_id")].append(line)
    return {
        device.command_id or f"none {number}": (device, found[device.command_id])
        for number, device in enumerate(run.devices)
    }


def _broken(device: SimulatedDevice, chain: list[Line]) -> str:
    """What is wrong with a chain; empty when it is whole."""
    events = [line["event"] for line in chain]
    if events != list(_STEPS):
        return f"{device.alias}: {' -> '.join(events) or 'no line'}"
    if {line.get("device_id") for line in chain} != {device.device_id}:
        return f"{device.alias}: the chain names another device"
    if len({line.get("request_id") for line in chain if line["event"].startswith("dispatch.")}) != 1:
        return f"{device.alias}: the command's request_id was lost on the way to FCM"
    return ""


def _whole(run: SimulationRun, seen: Observations) -> Finding:
    """dispatch.request -> dispatch.sent -> action_result.ingest, each once, in this order, under one request_id."""
    chains = _chains(run, seen).values()
    faults = [fault for device, chain in chains if (fault := _broken(device, chain))]
    return Finding(faults, f"{len(chains) - len(faults)} of {len(run.devices)} chains whole")


def _own(run: SimulationRun, seen: Observations) -> list[Line]:
    return [line for line in seen.lines.get() if run.exclusive or run.id in str(line.get("request_id"))]


def _is_error(line: Line) -> bool:
    return is_error(line) or (line.get("event") == "http.request" and str(line.get("status")) >= "500")


def _quiet(run: SimulationRun, seen: Observations) -> Finding:
    lines = _own(run, seen)
    bad = [line for line in lines if _is_error(line)]
    faults = [
        f"{line.get('event')} {line.get('route')} {line.get('error') or line.get('status') or ''}" for line in bad
    ]
    return Finding(faults, f"{len(lines)} log lines, {len(bad)} of them errors")


def _lines(_: SimulationRun, seen: Observations) -> Finding:
    lines = seen.lines.get()
    return Finding(list(log_schemas.judge(lines)), f"{len(lines)} log lines")


def _secrets(run: SimulationRun, seen: Observations) -> Finding:
    text = "\n".join(json.dumps(line) for line in seen.lines.get())
    return Finding(Search(run.secrets).text(text), f"{len(run.secrets)} tokens and keys searched for")


CHAINS = RunCheck("chains", "command -> sent -> result is logged whole per device", _whole)
ERRORS = RunCheck("log-errors", "no error in the log", _quiet)
LOG_CHECKS = (
    CHAINS,
    ERRORS,
    RunCheck("log-lines", "every log line is as its schema says", _lines),
    RunCheck("log-secrets", "no token and no key in the log", _secrets),
)


def telling(run: SimulationRun, seen: Observations, checks: list[Check]) -> str:
    """Some of the log lines behind failed checks, secrets masked, for failures.log; empty when there are none."""
    failed = {check.id for check in checks if check.status is Status.FAIL}
    lines = [line for line in _own(run, seen) if _is_error(line)] if ERRORS.id in failed else []
    if CHAINS.id in failed:
        lines += [line for device, chain in _chains(run, seen).values() if _broken(device, chain) for line in chain]
    return "".join(SECRETS.mask(json.dumps(line)) + "\n" for line in lines[:_MOST_SHOWN])
