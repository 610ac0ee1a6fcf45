"""A worker of the runner: one pytest that judges many mutants, one after the other, with the slow parts done once.

Pytest, the harness and the cases are imported once; backends and fakes are forked from zygotes. Each line on stdin
asks for one run: {"arguments": those of pytest, "env": the whole environment, "output": a file}. When it has ended, a
file `over` stands beside the output.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from harness.mutation.backend_copy import COMMAND
from harness.stack.warm_stacks import warm_stacks

OVER: Final = "over"


def _is_backend(argv: Sequence[str]) -> bool:
    return Path(argv[0]).name == COMMAND


def main(backend_python: str) -> None:
    """Serve the requests on stdin until its end. backend_python: of the environment that the backends run in."""
    warm_stacks(backend_python, _is_backend)
    with os.fdopen(os.dup(0), encoding="utf-8") as requests:
        for line in requests:
            asked = json.loads(line)
            output = Path(asked["output"])
            with output.open("wb") as said:
                for number in (1, 2):
                    os.dup2(said.fileno(), number)
            os.environ.clear()
            os.environ.update(asked["env"])
            pytest.main(asked["arguments"])
            sys.stdout.flush()
            gc.freeze()  # what stays from here on is modules: pytest collects garbage again and again
            output.with_name(OVER).touch()


if __name__ == "__main__":
    main(sys.argv[1])
