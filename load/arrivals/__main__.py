"""`python -m load.arrivals SCENARIO`: see cli.py. It deliberately holds nothing else."""

import sys

from load.arrivals.cli import main

if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before there was a run that could report it
        print("load.arrivals: interrupted", file=sys.stderr)
        sys.exit(2)
