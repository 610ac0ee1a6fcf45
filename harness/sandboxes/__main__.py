"""`python -m harness.sandboxes`: seed the pool of a deployment, remove what was seeded, verify what a run has left.

It needs DATABASE_URL alone. Exit codes: 0 done, or nothing wrong; 1 verify has found a fault; 2 nothing can be said, or
nothing was done.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psycopg

from harness.options import positive
from harness.provider.server import ProviderControl
from harness.sandboxes import seeding
from harness.sandboxes.calls import Call, read_calls
from harness.sandboxes.verify import Verification, verify
from harness.settings import SECRETS, HarnessError, SettingsError, artifacts, refuse_production
from harness.verdict.artifacts import Envelope, write_result
from harness.verdict.console import Console
from harness.verdict.thresholds import Verdict, exit_code, judge

SUITE: Final = "pool"
TROUBLE: Final = 2
_LABS_TOLD: Final = 50


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nox -s pool --",
        description="Seed the pool of sandboxes of a deployment, remove what was seeded, verify what a run has left.",
        epilog="DATABASE_URL: the deployment's database; NEXMDM_ALLOW_PRODUCTION=1 where it looks like production.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    text = "add sandboxes load-<label>-<n> that may be given out; needs a role that may write"
    seed = actions.add_parser("seed", help=text, description=text)
    seed.add_argument("--count", type=positive, required=True, metavar="N")
    text = "remove the sandboxes of a label with their allocations, and no others"
    remove = actions.add_parser("remove", help=text, description=text)
    for action in (seed, remove):
        action.add_argument("--label", required=True, help="1 to 40 of a-z, 0-9 and -")
    text = "check that no sandbox was given twice, and that all agree; needs SELECT on sandboxes and allocations"
    check = actions.add_parser("verify", help=text, description=text)
    check.add_argument(
        "--label", help="the label of the run: what is not asked for is then seen for all of its sandboxes"
    )
    check.add_argument("--seeded", type=positive, metavar="N", help="how many were seeded under the label")
    check.add_argument("--calls", type=Path, nargs="+", metavar="FILE", help="the record of the run's calls: V5 to V8")
    check.add_argument("--provider-url", metavar="URL", help="the control address of the fake provider: V9")
    return parser


def _database_url() -> str:
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise SettingsError("DATABASE_URL: not set; it names the deployment's database")
    refuse_production(url, "DATABASE_URL")
    if (password := urlsplit(url).password) and len(password) >= SECRETS.SHORTEST:
        SECRETS.add(password)
    return url


def _calls(paths: Sequence[Path]) -> list[Call]:
    calls: list[Call] = []
    for path in paths:
        try:
            calls += read_calls(path)
        except (OSError, ValueError, csv.Error, zlib.error) as error:
            raise HarnessError(f"--calls {path}: no record of calls: {error}") from None
    return calls


def _seed(given: argparse.Namespace, console: Console) -> int:
    seeding.seed(_database_url(), given.label, given.count, progress=_told(console, "seeded"))
    console.say(f"seeded {given.count:,} sandboxes, {seeding.id_prefix(given.label)}0 and on")
    return 0


def _remove(given: argparse.Namespace, console: Console) -> int:
    removed = seeding.remove(_database_url(), given.label, progress=_told(console, "removed"))
    console.say(f"removed {removed:,} sandboxes of label {given.label}")
    return 0


def _told(console: Console, word: str) -> seeding.Progress:
    return lambda done, of: console.progress(f"{word} {done:,} of {of:,}")


def _verify(given: argparse.Namespace, console: Console) -> int:
    started_at = time.time()
    url, calls = _database_url(), None if given.calls is None else _calls(given.calls)
    provider = None if given.provider_url is None else ProviderControl(given.provider_url)
    found = verify(url, calls, label=given.label, seeded=given.seeded, provider=provider, say=console.say)
    verdict = judge([], found.checks)
    folder = artifacts(SUITE)
    capabilities = ["database"] if provider is None else ["database", "provider"]
    facts = _facts(found, calls)
    write_result(
        folder,
        Envelope(SUITE, started_at, time.time(), verdict, (), found.checks, capabilities=capabilities, facts=facts),
    )
    _say(found, verdict, console)
    console.say(f"{verdict.status.value}: {folder / 'summary.md'}")
    return verdict.exit_code


def _facts(found: Verification, calls: Sequence[Call] | None) -> dict[str, str | int | float | bool | None]:
    facts: dict[str, str | int | float | bool | None] = {f"sandboxes {name}": n for name, n in found.pool.items()}
    if calls is not None:
        facts["calls"] = len(calls)
    for lab in found.labs[:_LABS_TOLD]:
        ended = f"{lab.released:,} released, {lab.expired:,} expired, {lab.revoked:,} revoked"
        facts[f"lab {lab.name or '(none)'}"] = f"{lab.allocations:,} allocations: {lab.live:,} live, {ended}"
    if len(found.labs) > _LABS_TOLD:
        facts["more labs"] = len(found.labs) - _LABS_TOLD
    return facts


def _say(found: Verification, verdict: Verdict, console: Console) -> None:
    for check in found.checks:
        console.say(f"{check.id:<3} {check.status.value:<12} {check.title}")
    for lab in found.labs[:_LABS_TOLD]:
        console.say(f"    lab {lab.name or '(none)'}: {lab.allocations:,} allocations, {lab.live:,} live")
    for reason in verdict.reasons:
        console.say(f"  {reason}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.action == "verify" and given.seeded is not None and given.label is None:
        parser.error("verify: --seeded: of which --label?")
    console = Console(SUITE)
    try:
        return {"seed": _seed, "remove": _remove, "verify": _verify}[given.action](given, console)
    except HarnessError as error:
        problem = str(error)
    except psycopg.Error as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        problem = f"DATABASE_URL: {lines[0]}"
    except KeyboardInterrupt:
        console.say("stopped" if given.action == "verify" else "stopped; `remove` takes what is left of the label")
        return 130
    console.say(f"{given.action}: {SECRETS.mask(problem)}")
    return TROUBLE


if __name__ == "__main__":
    sys.exit(exit_code(main))
