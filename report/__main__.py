"""`python -m report DIR [DIR ...]`: write report.html into each suite folder and print its path. It runs no suite."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.verdict.thresholds import exit_code
from report.page import write
from report.sources import ReportError


def main(arguments: list[str] | None = None) -> int:
    """0: every page was written. 2: one folder was no suite folder; one line on stderr says which and why."""
    parser = argparse.ArgumentParser(prog="python -m report", description="Draw report.html from a suite's artifacts.")
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIR", help="artifacts/<suite>")
    try:
        for directory in parser.parse_args(arguments).directories:
            print(write(directory), flush=True)
    except (ReportError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
