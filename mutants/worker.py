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
from harness.mutation.warm_starts import Zygote, serve
from harness.processes.child import bare_environment, python_module

_FAKES: Final = ("harness.fcm.server", "harness.provider.server")
# What is imported by functions, so that nothing but a run would show it.
_FAKES_LATE: Final = ("aiohttp.web", "harness.fcm.app", "harness.provider.app")
_BACKEND_LATE: Final = ("uvloop", "anyio.streams.tls", "h11", "httpcore", "httpcore._sync.http2")
OVER: Final = "over"


def _is_backend(argv: Sequence[str]) -> bool:
    return Path(argv[0]).name == COMMAND


def _is_fake(argv: Sequence[str]) -> bool:
    return argv[0] == sys.executable and tuple(argv[1:2]) == ("-m",) and argv[2] in _FAKES


def main(backend_python: str) -> None:
    """Serve the requests on stdin until its end. backend_python: of the environment that the backends run in."""
    _, path = python_module("")
    if sys.platform == "linux":  # elsewhere nobody can be handed another's child, and each is executed
        serve(
            {
                _is_backend: Zygote(backend_python, ["nexmdm"], _BACKEND_LATE, bare_environment({})),
                _is_fake: Zygote(sys.executable, _FAKES, _FAKES_LATE, bare_environment(path)),
            }
        )
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
