"""The tear-down checks that read the backend's log, and the lines that show why one failed. They measure no time."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from harness.oracles import log_schemas
from harness.oracles.secret_scan import Search
from harness.settings import SECRETS
from harness.verdict.thresholds import Check, Status
from load.measurements.observations import Evidence
from load.measurements.run import Run, Seat
from load.verdict.check import Found, Question

_STEPS = ("dispatch.request", "dispatch.sent", "action_result.ingest")
_MOST_SHOWN = 20

Line = dict[str, Any]


def _chains(run: Run, evidence: Evidence) -> dict[str, tuple[Seat, list[Line]]]:
    """Per command: its device and the lines of its chain, in order of time."""
    found: dict[str | None, list[Line]] = defaultdict(list)
    for line in sorted(evidence.lines or [], key=lambda line: str(line.get("ts"))):
        if line.get("event") in _STEPS:
            found[line.get("dispatch_request_id")].append(line)
    return {
        seat.command_id or f"none {number}": (seat, found[seat.command_id]) for number, seat in enumerate(run.seats)
    }


def _broken(seat: Seat, chain: list[Line]) -> str:
    """What is wrong with a chain; empty when it is whole."""
    events = [line["event"] for line in chain]
    if events != list(_STEPS):
        return f"{seat.alias}: {' -> '.join(events) or 'no line'}"
    if {line.get("device_id") for line in chain} != {seat.device_id}:
        return f"{seat.alias}: the chain names another device"
    if len({line.get("request_id") for line in chain if line["event"].startswith("dispatch.")}) != 1:
        return f"{seat.alias}: the command's request_id was lost on the way to FCM"
    return ""


def _whole(run: Run, evidence: Evidence) -> Found:
    """dispatch.request -> dispatch.sent -> action_result.ingest, each once, in this order, under one request_id."""
    chains = _chains(run, evidence).values()
    faults = [fault for seat, chain in chains if (fault := _broken(seat, chain))]
    return Found(faults, f"{len(chains) - len(faults)} of {len(run.seats)} chains whole")


def _own(run: Run, evidence: Evidence) -> list[Line]:
    return [line for line in evidence.lines or [] if run.exclusive or run.id in str(line.get("request_id"))]


def _is_error(line: Line) -> bool:
    return line.get("level") == "ERROR" or (line.get("event") == "http.request" and str(line.get("status")) >= "500")


def _quiet(run: Run, evidence: Evidence) -> Found:
    lines = _own(run, evidence)
    bad = [line for line in lines if _is_error(line)]
    faults = [
        f"{line.get('event')} {line.get('route')} {line.get('error') or line.get('status') or ''}" for line in bad
    ]
    return Found(faults, f"{len(lines)} log lines, {len(bad)} of them errors")


def _lines(_: Run, evidence: Evidence) -> Found:
    lines = evidence.lines or []
    return Found(list(log_schemas.judge(lines)), f"{len(lines)} log lines")


def _secrets(run: Run, evidence: Evidence) -> Found:
    text = "\n".join(json.dumps(line) for line in evidence.lines or [])
    return Found(Search(run.secrets).text(text), f"{len(run.secrets)} tokens and keys searched for")


CHAINS = Question("chains", "command -> sent -> result is logged whole per device", ("lines",), _whole)
ERRORS = Question("log-errors", "no error in the log", ("lines",), _quiet)
LOG_QUESTIONS = (
    CHAINS,
    ERRORS,
    Question("log-lines", "every log line is as its schema says", ("lines",), _lines),
    Question("log-secrets", "no token and no key in the log", ("lines",), _secrets),
)


def telling(run: Run, evidence: Evidence, checks: list[Check]) -> str:
    """Some of the log lines behind failed checks, secrets masked, for failures.log; empty when there are none."""
    failed = {check.id for check in checks if check.status is Status.FAIL}
    lines = [line for line in _own(run, evidence) if _is_error(line)] if ERRORS.id in failed else []
    if CHAINS.id in failed:
        lines += [line for seat, chain in _chains(run, evidence).values() if _broken(seat, chain) for line in chain]
    return "".join(SECRETS.mask(json.dumps(line)) + "\n" for line in lines[:_MOST_SHOWN])
