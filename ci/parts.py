"""What `nox -s full` runs, in five parts of about five minutes each on two cores: `--part K/5` runs one.

A push runs one part beside the tests, chosen by its commit; the workflow runs each on a machine of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from ci import quick_look

_FOLDERS: Final = (
    ("acceptance/operations", "acceptance/access"),
    ("acceptance/platform", "acceptance/http"),
)
_REST: Final = tuple(f"--ignore={folder}" for part in _FOLDERS for folder in part)
PARTS: Final[tuple[dict[str, tuple[str, ...]], ...]] = (
    {"chaos": ("--sample",)},
    {"harness-slow": (), "backend-slow": ()},
    {"acceptance-slow": _FOLDERS[0], "mutants": ("--sample", "10"), "dist": ()},
    {"acceptance-slow": _FOLDERS[1], "acceptance-s3": ()},
    {
        "acceptance-slow": _REST,
        "fleet100": quick_look.FLEET,
        "sandboxes": quick_look.DEMONSTRATION,
        "platform": quick_look.DEMONSTRATION,
        "browser": (),
    },
)
"""Per part its sessions, with the arguments of each."""


def chosen(argv: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The sessions that these arguments of `nox -s full` ask for, with theirs. SystemExit: there is no such part."""
    names = [f"{number}/{len(PARTS)}" for number in range(1, len(PARTS) + 1)]
    options = argparse.ArgumentParser(prog="nox -s full --", allow_abbrev=False)
    options.add_argument("--part", choices=names, help="a fifth of all")
    part = options.parse_args(argv).part
    if part is None:
        return {name: arguments for one in PARTS for name, arguments in one.items()} | {"acceptance-slow": ()}
    return PARTS[names.index(part)]
