"""`python -m mutants.single FOLDER [NAME]`: one broken backend as a command, to see what it does.

It leaves FOLDER/mutant.json: the command, and what is broken. Without a name it lists what there is. Exit code 2: no
mutant has this name, or it does not fit the backend that is installed.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from harness import preflight
from harness.mutation.backend_copy import build, installed
from harness.settings import HarnessError, backend_command
from harness.verdict.thresholds import exit_code
from mutants.mutant import CATALOGUE, CatalogueError, Mutant, read

FILE: Final = "mutant.json"


def find(name: str, mutants: Sequence[Mutant]) -> Mutant:
    """The mutant of this name. CatalogueError, which names those with names like it."""
    found = {mutant.id: mutant for mutant in mutants}
    if name in found:
        return found[name]
    near = difflib.get_close_matches(name, found, n=3, cutoff=0.5) or [one for one in found if name in one][:3]
    meant = f"; near are {', '.join(near)}" if near else ""
    raise CatalogueError(f"no mutant is called {name}{meant}; without a name all are listed")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mutants.single", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the copy of the backend goes")
    parser.add_argument("name", nargs="?", metavar="NAME", help="such as heartbeat/no-dedupe")
    parser.add_argument("--of", default=".", metavar="SERVICE", help="a folder of the catalogue")
    given = parser.parse_args(arguments)
    try:
        mutants = read(CATALOGUE / given.of)
        if given.name is None:
            sys.stdout.writelines(f"{mutant.id:40} {mutant.breaks}\n" for mutant in mutants)
            return 0
        mutant = find(given.name, mutants)
        preflight.refuse_given("a broken backend")
        command = backend_command()
        broken = build(command, installed(command), mutant.apply, given.folder)
    except (CatalogueError, HarnessError) as error:
        sys.stderr.write(f"--break: {error}\n")
        return 2
    told = {"command": str(broken), "broken": f"{mutant.id}: {mutant.breaks}"}
    (given.folder / FILE).write_text(json.dumps(told), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
