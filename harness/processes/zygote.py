"""The zygote: a Python that has imported a program's libraries, and forks a process for each start it is asked for.

It runs as a plain script in the environment of that program, `zygote.py [--own] NAME... -- MODULE...`: it imports what
the modules and packages of these names import, with --own these themselves, else none of them, and the libraries
MODULE..., which they import late. The protocol is spoken by warm_starts.py: each message on the socket at descriptor 0
is JSON {argv, env, cwd, announce} with the three standard descriptors of the new process, and is answered with its
process id. The process is a grandchild of the zygote. Its parent ends at once, and it becomes a child of the process
that asked.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

_LONGEST_MESSAGE: Final = 200_000


def main(names: Sequence[str], late: Sequence[str], *, own: bool) -> None:
    """Serve until the other end of the socket is closed. In a forked process: run what was asked for, and return."""
    asked = socket.socket(fileno=os.dup(0))
    _load([*_imported(names, own=own), *late])
    gc.collect()
    gc.freeze()  # the collector would touch, and so copy, every page that the processes share
    while True:
        text, descriptors, _, _ = socket.recv_fds(asked, _LONGEST_MESSAGE, 3)
        if not text:
            return
        pid = _fork(descriptors)
        if pid == 0:
            asked.close()
            _run(json.loads(text))
            return
        for descriptor in descriptors:
            os.close(descriptor)
        asked.send(str(pid).encode())


def _imported(names: Sequence[str], *, own: bool) -> list[str]:
    """What the modules of these names import, without their own. It is seen in a fork: none is imported here."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        for name in names:
            module = importlib.import_module(name)
            for found in pkgutil.walk_packages(getattr(module, "__path__", None) or [], f"{name}."):
                if not found.name.endswith(".__main__"):
                    with contextlib.suppress(Exception):  # one that only its own framework can import
                        importlib.import_module(found.name)
        with os.fdopen(writing, "w") as told:
            told.write("\n".join(sys.modules))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        seen = told.read().split()
    os.wait()
    if own:
        return [module for module in seen if module != "__main__"]
    inner = tuple(f"{name}." for name in names)
    return [module for module in seen if module not in {*names, "__main__"} and not module.startswith(inner)]


def _load(modules: Iterable[str]) -> None:
    for module in modules:
        with contextlib.suppress(ImportError):  # a name that a library has put among the modules
            importlib.import_module(module)


def _fork(descriptors: Sequence[int]) -> int:
    """The process id of the grandchild once it has lost its parent; 0 in it. It has these standard descriptors."""
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid:
            os.write(writing, str(pid).encode())
            os._exit(0)
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        for descriptor in (reading, writing, *descriptors):
            os.close(descriptor)
        return 0
    os.close(writing)
    os.waitpid(between, 0)
    with os.fdopen(reading) as told:
        return int(told.read())


def _run(asked: dict[str, Any]) -> None:
    """Become what was asked for: a session of its own, known to the guard, then the program."""
    os.setsid()
    guard = os.open(
        asked["announce"], os.O_WRONLY
    )  # a FIFO: without the guard there is none, and this process gives up
    os.write(guard, f"group {os.getpid()}\n".encode())
    os.close(guard)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    time.tzset()
    tempfile.tempdir = None
    program, *arguments = asked["argv"]
    if arguments[:1] == ["-m"]:
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [program, *arguments]
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    between = sys.argv.index("--")
    given = sys.argv[1:between]
    main([name for name in given if name != "--own"], sys.argv[between + 1 :], own="--own" in given)
