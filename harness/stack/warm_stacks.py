"""Stacks without the seconds that the imports of their programs take: backends and fakes are forked from zygotes."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable, Sequence
from typing import Final

from harness.processes.child import bare_environment, python_module
from harness.processes.warm_starts import Zygote, serve

_FAKES: Final = ("harness.fcm.server", "harness.provider.server")
# What is imported by functions, so that nothing but a run would show it.
_FAKES_LATE: Final = ("aiohttp.web", "harness.fcm.app", "harness.provider.app")
_BACKEND_LATE: Final = ("uvloop", "anyio.streams.tls", "h11", "httpcore", "httpcore._sync.http2")


def _is_fake(argv: Sequence[str]) -> bool:
    return argv[0] == sys.executable and tuple(argv[1:2]) == ("-m",) and argv[2] in _FAKES


def warm_stacks(backend_python: str, is_backend: Callable[[Sequence[str]], bool], *, one_backend: bool = False) -> None:
    """Fork each backend and each fake that this process starts from now on; elsewhere than on Linux change nothing.

    backend_python: of the environment that the backends run in; is_backend: whether an argv is that of a backend.
    one_backend: all run the code that is installed there, so that it is imported once, too.
    """
    if sys.platform != "linux":  # nobody can be handed another's child there
        return
    _, path = python_module("")
    zygotes = {
        is_backend: Zygote(backend_python, ["nexmdm"], _BACKEND_LATE, bare_environment({}), own=one_backend),
        _is_fake: Zygote(sys.executable, _FAKES, _FAKES_LATE, bare_environment(path)),
    }
    for zygote in zygotes.values():
        atexit.register(zygote.stop)
    serve(zygotes)
