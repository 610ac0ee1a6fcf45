"""What a failing case prints beside pytest's own report: its requirement, curl lines, log lines, FCM inbox, artifacts.

Does not print a secret: everything goes through the mask of harness.settings.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import pytest

from acceptance.suite.case import Case
from acceptance.system.system import System
from harness.fcm.server import FcmError
from harness.http.curl import Exchange
from harness.settings import SECRETS

LAST_REQUESTS = 8
LAST_OF_A_ROW = 3
LAST_LINES = 40
LAST_MESSAGES = 10
LONGEST_ANSWER = 400  # characters


def why(report: pytest.TestReport) -> str:
    """The exception in one line, as pytest puts it."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return " ".join((crash.message if crash else str(report.longrepr)).split())[:300]


def sections(case: Case, systems: Iterable[System], folder: Path) -> Iterator[tuple[str, str]]:
    """Title and text of each section, secrets masked."""
    yield "requirement", f"{case.case_id}: {case.requirement}"
    for number, system in enumerate(systems, 1):
        name = f"system {number}, {system.target.base_url}"
        rows = in_rows(system.api.exchanges)[-LAST_REQUESTS:]
        if not rows:
            continue
        yield f"last requests ({name})", "\n".join(told(row[-1], len(row)) for row in rows)
        ids = {one.request_id for row in rows for one in row[-LAST_OF_A_ROW:]}
        yield f"backend log of these requests ({name})", _log(system, ids)
        yield f"FCM inbox of this case ({name})", _inbox(system)
    yield "artifacts", str(folder)


def in_rows(exchanges: Iterable[Exchange]) -> list[list[Exchange]]:
    """Equal requests that follow one another are one row: a case that waits asks again and again."""
    return [list(row) for _, row in groupby(exchanges, key=lambda one: (one.method, one.path))]


def told(exchange: Exchange, times: int = 1) -> str:
    """A request that can be pasted, and the beginning of its answer."""
    again = f"  # the last of {times} in a row" if times > 1 else ""
    if exchange.answer is None:
        return f"{exchange.curl}{again}\n  -> no answer"
    text = exchange.answer.body.decode("utf-8", "replace")
    shown = text.partition("\n")[0][:LONGEST_ANSWER]
    rest = f" ... ({len(exchange.answer.body)} bytes)" if len(shown) < len(text.strip()) else ""
    return f"{exchange.curl}{again}\n  -> {exchange.answer.status} {SECRETS.mask(shown)}{rest}"


def _log(system: System, request_ids: set[str]) -> str:
    if "logs" not in system.target.capabilities:
        return "this run was given no log"
    lines = [
        line
        for line in system.logs.readable()
        if line.get("request_id") in request_ids or line.get("level") in ("WARNING", "ERROR")
    ]
    return "\n".join(SECRETS.mask(json.dumps(line)) for line in lines[-LAST_LINES:])


def _inbox(system: System) -> str:
    if "fcm" not in system.target.capabilities:
        return "this run was given no fake FCM"
    try:
        messages = [message for message in system.fcm.inbox() if message["at"] >= system.began]
        return "\n".join(SECRETS.mask(json.dumps(message)) for message in messages[-LAST_MESSAGES:]) or "empty"
    except FcmError as error:
        return str(error)
