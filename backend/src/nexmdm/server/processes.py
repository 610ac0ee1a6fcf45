"""Processes of one `nexmdm serve`: a parent that supervises, N web processes on one socket, one background process.

The parent imports the application and forks, so that a worker starts in milliseconds. A worker that dies is replaced.
A parent that dies, even by SIGKILL, takes its workers along: each holds the read end of a pipe whose only writer is the
parent. It never runs an event loop itself: asyncio does not survive a fork. Its one thread writes the log and holds no
lock that a child could need.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from nexmdm import __version__
from nexmdm.http.events import UNHANDLED_EXCEPTION
from nexmdm.kernel.log import emit, flush
from nexmdm.kernel.metrics import clear_slot, share, take_slot
from nexmdm.kernel.settings import Settings
from nexmdm.server import metrics
from nexmdm.server.events import SERVICE_START, SERVICE_STOP

DRAIN_S: Final = 8  # what a worker gets to answer what it has begun
_KILL_AFTER_S: Final = DRAIN_S + 1
_RESTART_PAUSE_S: Final = 1.0  # a worker that dies at once must not make a busy loop; several are forked together
_LONGEST_WAIT_S: Final = 60.0
_SIGNALS: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD}

CreateApp = Callable[[Settings], ASGIApp]  # imported by the caller, so that every worker is forked with it
OnStop = Callable[[Callable[[], None]], None]  # calls its argument once, in the running loop, when the worker is to end
Work = Callable[[OnStop], Coroutine[Any, Any, None]]  # of the background process
Role = tuple[str, Callable[[OnStop], None]]


def serve(settings: Settings, create_app: CreateApp, work: Work | None) -> int:
    """Run the web processes, and `work` in a background process, until SIGINT or SIGTERM.

    Returns the exit code: 0 if every worker has drained and ended in time.
    """
    with _listener(settings.host, settings.port) as listener:
        roles: list[Role] = [("web", partial(_web, settings, create_app, listener)) for _ in range(settings.workers)]
        _settle()  # before the fork too: the collector would otherwise touch, and so copy, every shared page
        if work is not None:
            roles.append(("background", partial(_background, work)))
        port = listener.getsockname()[1]
        emit(
            SERVICE_START,
            role="supervisor",
            pid=os.getpid(),
            port=port,
            workers=settings.workers,
            version=__version__,
        )
        return _Supervisor(roles).run()


def run_alone(work: Work) -> int:
    """Run the background process alone, under the same supervision."""
    return _Supervisor([("background", partial(_background, work))]).run()


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048, reuse_port=False)
    except OSError as error:
        error.filename = f"cannot listen on {host} port {port}"
        raise


class _Supervisor:
    def __init__(self, roles: list[Role]) -> None:
        self._pid = os.getpid()
        self._roles = roles
        self._children: dict[int, int] = {}  # process id -> place in _roles
        self._absent = dict.fromkeys(range(len(roles)), 0.0)  # place in _roles -> when to fork it
        self._stopping = False
        self._kill_at = math.inf
        self._failed = False

    def run(self) -> int:
        # Who started us may ignore SIGCHLD, and that is inherited: nobody would tell us that a child has ended.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Blocked, and waited for: no signal can arrive between a look and the wait.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._lifeline, self._grip = os.pipe()
        share(len(self._roles))
        while True:
            self._reap()
            self._fork_due()
            if not self._children and not self._absent:
                break
            received = signal.sigtimedwait(_SIGNALS, self._patience_s())
            if received is not None and received.si_signo != signal.SIGCHLD:
                self._stop()
            if time.monotonic() >= self._kill_at:
                self._kill_all(signal.SIGKILL)
                self._failed, self._kill_at = True, math.inf
        emit(SERVICE_STOP, role="supervisor", pid=os.getpid())
        return 1 if self._failed else 0

    def _patience_s(self) -> float:
        now = time.monotonic()
        return max(0.0, min([self._kill_at, now + _LONGEST_WAIT_S, *self._absent.values()]) - now)

    def _stop(self) -> None:
        self._stopping = True
        self._absent.clear()
        self._kill_all(signal.SIGTERM)
        self._kill_at = time.monotonic() + _KILL_AFTER_S

    def _fork_due(self) -> None:
        now = time.monotonic()
        for place in [place for place, at in self._absent.items() if at <= now]:
            try:
                self._fork(place)
            except OSError as error:  # no process or no memory is left: those that live go on
                emit(UNHANDLED_EXCEPTION, "error", error=f"{self._roles[place][0]}: {type(error).__name__}")
                self._absent[place] = now + _RESTART_PAUSE_S
            else:
                del self._absent[place]

    def _fork(self, place: int) -> None:
        pid = os.fork()
        if pid:
            self._children[pid] = place
            return
        name, run = self._roles[place]
        status = 1
        try:
            os.close(self._grip)  # else a worker would keep its own lifeline alive
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal signals the whole group; the parent decides
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            take_slot(_slot(place))
            emit(SERVICE_START, role=name, pid=os.getpid())
            run(partial(_call_on_stop, self._lifeline))
            emit(SERVICE_STOP, role=name, pid=os.getpid())
            status = 0
        except Exception as error:
            emit(UNHANDLED_EXCEPTION, "error", error=f"{name}: {type(error).__name__}")
        finally:
            flush()
            os._exit(status)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            place = self._children.pop(pid, None)
            if place is not None:  # else a helper of the entrypoint, or an orphan that process 1 of a container adopts
                self._replace(place, pid, status)

    def _replace(self, place: int, pid: int, status: int) -> None:
        clear_slot(_slot(place))
        if not self._stopping:
            role = self._roles[place][0]
            emit(SERVICE_STOP, "error", role=role, pid=pid)
            metrics.worker_restarts.labels(role).inc()
            self._absent[place] = time.monotonic() + _RESTART_PAUSE_S
        elif os.waitstatus_to_exitcode(status) not in {0, -signal.SIGTERM}:  # the latter: it had not begun
            self._failed = True

    def _kill_all(self, number: signal.Signals) -> None:
        for pid in self._children:
            os.kill(pid, number)


def _slot(place: int) -> int:
    """Where the process of this place counts; the first slot is the parent's."""
    return place + 1


def _call_on_stop(lifeline: int, stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM, and when the lifeline says that the parent is gone."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop)

    def orphaned() -> None:
        loop.remove_reader(lifeline)
        stop()

    loop.add_reader(lifeline, orphaned)


def _settle() -> None:
    """Take what was imported out of the garbage collector's sight: a full collection of it takes 0.2 s."""
    gc.collect()
    gc.freeze()


def _web(settings: Settings, create_app: CreateApp, listener: socket.socket, on_stop: OnStop) -> None:
    from nexmdm.server.connections import KEEP_ALIVE_S
    from nexmdm.server.fast_lane import FastLane
    from nexmdm.server.listener import ListeningServer

    server = ListeningServer(
        uvicorn.Config(
            create_app(settings),
            http=FastLane,
            log_config=None,
            access_log=False,
            server_header=False,
            headers=[("strict-transport-security", f"max-age={settings.hsts_s}")] if settings.hsts_s else [],
            proxy_headers=False,
            timeout_graceful_shutdown=DRAIN_S,
            timeout_keep_alive=KEEP_ALIVE_S,
            ws="none",
            lifespan="on",
        ),
        listener,
    )

    async def main() -> None:
        def stop() -> None:
            server.should_exit = True

        on_stop(stop)
        _settle()
        await server.serve()

    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(main())


def _background(work: Work, on_stop: OnStop) -> None:
    _settle()
    asyncio.run(work(on_stop))
