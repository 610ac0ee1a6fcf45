"""Processes of one `nexmdm serve`: a parent that supervises, N web processes on one socket, one background process.

The parent imports the application and forks, so that a worker starts in milliseconds. A worker that dies is replaced.
A parent that dies, even by SIGKILL, takes its workers along: each holds the read end of a pipe whose only writer is the
parent. It never runs an event loop itself: asyncio does not survive a fork. Its one thread writes the log and holds no
lock that a child could need.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn

from nexmdm import __version__
from nexmdm import settings as configuration
from nexmdm.log_sink import Kind
from nexmdm.logs import Event, configure, emit, flush
from nexmdm.settings import Settings

DRAIN_S: Final = 8  # what a worker gets to answer what it has begun
_KILL_AFTER_S: Final = DRAIN_S + 1
_RESTART_PAUSE_S: Final = 1.0  # a worker that dies at once must not make a busy loop
_SIGNALS: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM}

OnStop = Callable[[Callable[[], None]], None]  # calls its argument once, in the running loop, when the worker is to end
Role = tuple[str, Callable[[OnStop], None]]


def serve(settings: Settings, *, background: bool) -> int:
    """Run until SIGINT or SIGTERM. Returns the exit code: 0 if every worker has drained and ended in time."""
    import nexmdm.app  # noqa: F401 - here, so that every worker is forked with it imported

    with socket.create_server(
        (settings.host, settings.port), family=_family(settings.host), backlog=2048, reuse_port=False
    ) as listener:
        roles: list[Role] = [("web", partial(_web, settings, listener)) for _ in range(settings.workers)]
        _settle()  # before the fork too: the collector would otherwise touch, and so copy, every shared page
        if background:
            roles.append(("background", partial(_background, settings)))
        port = listener.getsockname()[1]
        emit(
            Event.SERVICE_START,
            role="supervisor",
            pid=os.getpid(),
            port=port,
            workers=settings.workers,
            version=__version__,
        )
        return _Supervisor(roles).run()


def work(settings: Settings) -> int:
    """Run the background process alone, under the same supervision."""
    return _Supervisor([("background", partial(_background, settings))]).run()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class _Supervisor:
    def __init__(self, roles: list[Role]) -> None:
        self._pid = os.getpid()
        self._roles = roles
        self._children: dict[int, Role] = {}
        self._stopping = False
        self._failed = False

    def run(self) -> int:
        # Blocked, and waited for: no signal can arrive between a look and the wait.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._lifeline, self._grip = os.pipe()
        for role in self._roles:
            self._fork(role)
        while self._children:
            received = signal.sigwait(_SIGNALS)
            if received == signal.SIGCHLD:
                self._reap()
            elif received == signal.SIGALRM:
                self._kill_all(signal.SIGKILL)
                self._failed = True
            else:
                self._stopping = True
                self._kill_all(signal.SIGTERM)
                signal.alarm(_KILL_AFTER_S)
        emit(Event.SERVICE_STOP, role="supervisor", pid=os.getpid())
        return 1 if self._failed else 0

    def _fork(self, role: Role) -> None:
        pid = os.fork()
        if pid:
            self._children[pid] = role
            return
        status = 1
        try:
            os.close(self._grip)  # else a worker would keep its own lifeline alive
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal signals the whole group; the parent decides
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            emit(Event.SERVICE_START, role=role[0], pid=os.getpid())
            role[1](partial(_call_on_stop, self._lifeline))
            emit(Event.SERVICE_STOP, role=role[0], pid=os.getpid())
            status = 0
        except Exception as error:
            emit(Event.INTERNAL_ERROR, "error", error=f"{role[0]}: {type(error).__name__}")
        finally:
            if os.getppid() != self._pid:  # the parent was killed: what it cannot remove any more is ours to remove
                shutil.rmtree(configuration.metrics_directory() or "", ignore_errors=True)
            flush()
            os._exit(status)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            role = self._children.pop(pid)
            _forget(pid)
            if not self._stopping:
                emit(Event.SERVICE_STOP, "error", role=role[0], pid=pid)
                _count_restart(role[0])
                time.sleep(_RESTART_PAUSE_S)
                self._fork(role)
            elif os.waitstatus_to_exitcode(status) not in {0, -signal.SIGTERM}:  # the latter: it had not begun
                self._failed = True

    def _kill_all(self, number: signal.Signals) -> None:
        for pid in self._children:
            os.kill(pid, number)


def _forget(pid: int) -> None:
    from nexmdm import metrics  # reads PROMETHEUS_MULTIPROC_DIR on import

    metrics.forget_process(pid)


def _count_restart(role: str) -> None:
    from nexmdm import metrics  # as above

    metrics.worker_restarts.labels(role).inc()


def _count_lost(lost: Counter[Kind]) -> None:
    from nexmdm import metrics  # as above

    for kind, lines in lost.items():
        metrics.log_lines_lost.labels(kind).inc(lines)


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
    gc.set_threshold(20_000, 20, 20)  # what a request leaves goes by its count of references; cycles are few


def _web(settings: Settings, listener: socket.socket, on_stop: OnStop) -> None:
    from nexmdm.acceptor import Server
    from nexmdm.app import create_app
    from nexmdm.connections import KEEP_ALIVE_S
    from nexmdm.lane import FastLane

    server = Server(
        uvicorn.Config(
            create_app(settings),
            http=FastLane,
            log_config=None,
            access_log=False,
            server_header=False,
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


def _background(settings: Settings, on_stop: OnStop) -> None:
    from nexmdm import background

    _settle()
    asyncio.run(background.run(settings, on_stop))


def prepare(settings: Settings) -> tempfile.TemporaryDirectory[str]:
    """Logs, and the directory of the shared metrics; before anything imports prometheus-client."""
    configure(settings.log_level, settings.log_buffer_bytes, _count_lost)
    directory = tempfile.TemporaryDirectory(prefix="nexmdm-metrics-")
    configuration.metrics_directory(Path(directory.name))
    return directory
