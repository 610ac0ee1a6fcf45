"""What a failing case prints beside pytest's own report: its requirement, curl lines, log lines, FCM inbox, artifacts.

Does not print a secret: everything goes through the mask of harness.settings.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from acceptance.case import Case
from acceptance.system import System
from harness.fcm import FcmError
from harness.settings import SECRETS

LAST_REQUESTS = 8
LAST_LINES = 40


def why(report: pytest.TestReport) -> str:
    """The exception in one line, as pytest puts it."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return " ".join((crash.message if crash else str(report.longrepr)).split())[:300]


def sections(case: Case, systems: Iterable[System], folder: Path) -> Iterator[tuple[str, str]]:
    """Title and text of each section, secrets masked."""
    yield "requirement", f"{case.case_id}: {case.requirement}"
    for number, system in enumerate(systems, 1):
        name = f"system {number}, {system.target.base_url}"
        exchanges = system.api.exchanges[-LAST_REQUESTS:]
        if not exchanges:
            continue
        yield (
            f"last requests ({name})",
            "\n".join(
                f"{one.curl}\n  -> {one.answer.status if one.answer else 'no answer'}"
                f" {SECRETS.mask(one.answer.body[:300].decode('utf-8', 'replace')) if one.answer else ''}"
                for one in exchanges
            ),
        )
        yield f"backend log of these requests ({name})", _log(system, {one.request_id for one in exchanges})
        yield f"FCM inbox ({name})", _inbox(system)
    yield "artifacts", str(folder)


def _log(system: System, request_ids: set[str]) -> str:
    if "logs" not in system.target.capabilities:
        return "this run was given no log"
    lines = [
        line
        for line in system.logs.since()
        if line["request_id"] in request_ids or line["level"] in ("WARNING", "ERROR")
    ]
    return "\n".join(SECRETS.mask(json.dumps(line)) for line in lines[-LAST_LINES:])


def _inbox(system: System) -> str:
    if "fcm" not in system.target.capabilities:
        return "this run was given no fake FCM"
    try:
        return "\n".join(SECRETS.mask(json.dumps(message)) for message in system.fcm.inbox()[-10:])
    except FcmError as error:
        return str(error)
