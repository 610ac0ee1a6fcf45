"""The command line: `python -m harness up` and `python -m harness run -- CMD`.

It judges nothing: the exit code of `run` is CMD's. Trouble of the harness itself is exit code 2.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from harness.options import server_setting, setting
from harness.settings import HarnessError
from harness.verdict.thresholds import exit_code
from harness.waiting import Interrupted, interrupt

HARNESS_TROUBLE = 2
_IN_A_SCRIPT = (
    "In a script (`nox -s up &`) end it with SIGTERM, `kill $!`: what a shell without a terminal starts in the"
    " background ignores SIGINT."
)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _on_signal(number: int, _frame: FrameType | None) -> None:
    """The first signal: everything is stopped in order. A second one ends us at once.

    SIGTERM soon after SIGINT is no second one: nox sends it when somebody pressed Ctrl-C.
    """
    for each in _SIGNALS:
        signal.signal(each, lambda again, _: os._exit(128 + again))  # the guard ends the children
    if number == signal.SIGINT:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    interrupt(number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness",
        description=(
            "Start a whole NexMDM stack (PostgreSQL, fake FCM, fake provider of sandboxes, backend) on free ports of"
            " 127.0.0.1."
        ),
        epilog="The environment variables are listed in harness/settings.py. Exit code 2: the harness itself failed.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("up", "start a stack, print its connection details as one JSON line, keep it until Ctrl-C"),
        ("run", "run a command beside a live stack; its exit code is ours"),
    ):
        epilog = _IN_A_SCRIPT if name == "up" else None
        action = actions.add_parser(name, help=text, description=text, epilog=epilog)
        action.add_argument("--workers", type=int, default=1, metavar="N", help="web processes of the backend")
        instead = "a setting of the backend (backend/README.md), instead of the stack's own; may be repeated"
        action.add_argument("--set", type=setting, action="append", default=[], metavar="NAME=VALUE", help=instead)
        server = "a setting of the embedded PostgreSQL, as in postgresql.conf; may be repeated"
        action.add_argument(
            "--postgres", type=server_setting, action="append", default=[], metavar="NAME=VALUE", help=server
        )
        if name == "up":
            action.add_argument("--env-file", type=Path, metavar="FILE", help="write export lines for a shell, too")
        if name == "run":
            action.add_argument("--only", choices=["postgres"], help="no backend and no FCM, only this")
            action.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD", help="the command to run")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    for number in _SIGNALS:
        signal.signal(number, _on_signal)
    parser = _parser()
    given = parser.parse_args(arguments)
    # Here, because it takes a moment, and a signal must be heard from the first one.
    from harness.stack import launcher  # noqa: PLC0415

    try:
        if given.action == "up":
            return launcher.up(given.workers, given.env_file, dict(given.set), dict(given.postgres))
        command = given.command[1:] if given.command[:1] == ["--"] else given.command
        if not command:
            parser.error("run: no command given (python -m harness run -- CMD)")
        return launcher.run(command, given.workers, given.only, dict(given.set), dict(given.postgres))
    except Interrupted as interrupted:
        launcher.say(f"stopped by {interrupted.number.name}")
        return 128 + interrupted.number
    except HarnessError as error:
        launcher.say(str(error))
        return HARNESS_TROUBLE


if __name__ == "__main__":
    sys.exit(exit_code(main))
