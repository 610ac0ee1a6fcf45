"""One backend process: ready, stopped, killed, restarted; and each way in which it is not.

It uses the stand-in: the real backend does not misbehave on request.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harness.http.transport import HttpxTransport
from harness.oracles.log_tail import LogLineError, LogTap
from harness.processes.child import CommandNotFoundError
from harness.settings import SECRETS
from harness.stack.backend import Backend, BackendError
from harness.waiting import eventually

Make = Callable[..., Backend]


@pytest.fixture
def make(stand_in: Path, tmp_path: Path) -> Iterator[Make]:
    made: list[Backend] = []

    def backend(mode: str = "", *, log_pipe: bool = False, **env: str) -> Backend:
        command, settings = [str(stand_in), "serve"], {"STAND_IN": mode} | env
        made.append(Backend(command, settings, tmp_path / "backend.log", log_pipe=log_pipe))
        return made[-1]

    yield backend
    for each in made:
        each.stop(0)


def test_ready_means_that_it_answers_and_its_log_is_read(make: Make) -> None:
    backend = make().start().wait_ready()
    transport = HttpxTransport(backend.base_url)
    assert transport.send("GET", "/healthz", headers=[("X-Request-ID", "r1")]).status == 200
    transport.close()
    assert LogTap(backend.log_file).wait_for("http.request", since=0, request_id="r1")
    assert backend.running
    assert psutil.pid_exists(backend.pid)
    assert [backend.stop(), backend.running, backend.stop()] == [0, False, None]


def test_it_sees_its_own_settings_and_no_stray_ones(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXMDM_LIMIT_ADMIN", "1/1")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # the fake FCM is on this machine
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    backend = make(NEXMDM_WORKERS="3").start().wait_ready()
    environment = psutil.Process(backend.pid).environ()
    assert environment["NEXMDM_WORKERS"] == "3"
    assert not {"NEXMDM_LIMIT_ADMIN", "PYTHONPATH", "HTTP_PROXY", "https_proxy"} & set(environment)


def test_a_process_that_dies_at_start_fails_at_once_with_its_last_words(make: Make) -> None:
    begun = time.monotonic()
    backend = make("die").start()
    with pytest.raises(BackendError, match="ended with exit code 1") as caught:
        backend.wait_ready(60)
    assert time.monotonic() - begun < 10
    assert "the last line of the log" in str(caught.value)
    assert "the last line of stderr" in str(caught.value)
    with pytest.raises(BackendError, match="does not run"):
        assert backend.pid


@pytest.mark.parametrize(
    "mode, reason",
    [
        ("never_ready", "GET /readyz: 503"),
        ("no_port", "no service.start line with a port"),
        ("slow_start", "no service.start line with a port"),
    ],
)
def test_a_process_that_does_not_get_ready_in_time_is_ended(make: Make, mode: str, reason: str) -> None:
    backend = make(mode).start()
    pid = backend.pid
    with pytest.raises(BackendError, match=f"within 1 s; last answer: {reason}"):
        backend.wait_ready(1)
    assert not psutil.pid_exists(pid)


def test_a_log_line_that_is_no_json_fails_the_start(make: Make) -> None:
    with pytest.raises(LogLineError, match="Traceback"):
        make("plain_text_log").start().wait_ready()


def test_last_words_hold_no_secret(make: Make) -> None:
    backend = make("die").start()
    SECRETS.add("about.to.die")
    with pytest.raises(BackendError) as caught:
        backend.wait_ready()
    assert "about.to.die" not in str(caught.value)


def test_a_restart_keeps_the_address_and_the_log(make: Make) -> None:
    backend = make().start().wait_ready()
    url, pid = backend.base_url, backend.pid
    backend.restart()
    assert backend.base_url == url
    assert backend.pid != pid
    starts = [line for line in LogTap(backend.log_file).since(0) if line["event"] == "service.start"]
    assert [line["pid"] for line in starts] == [pid, backend.pid]


def test_killed_it_is_dead_and_can_come_back(make: Make) -> None:
    backend = make().start().wait_ready()
    url = backend.base_url
    backend.kill()
    assert not backend.running
    backend.restart()
    assert backend.base_url == url


def test_who_ignores_sigterm_is_killed(make: Make) -> None:
    backend = make("ignore_sigterm").start().wait_ready()
    assert backend.stop(0.3) == -signal.SIGKILL


def test_started_twice_or_asked_too_early_it_objects(make: Make) -> None:
    backend = make().start()
    with pytest.raises(BackendError, match="runs already"):
        backend.start()
    with pytest.raises(BackendError, match="before wait_ready"):
        assert backend.base_url


def test_a_pipe_brings_the_log_to_its_file_unless_its_reader_is_frozen(make: Make) -> None:
    backend = make(log_pipe=True).start().wait_ready()
    tap, transport = LogTap(backend.log_file), HttpxTransport(backend.base_url)
    os.kill(backend.reader.pid, signal.SIGSTOP)
    mark = tap.mark()
    transport.send("GET", "/healthz", headers=[("X-Request-ID", "r1")])
    assert tap.since(mark) == []
    assert backend.stop() == 0
    assert tap.wait_for("http.request", since=mark, request_id="r1"), "what was in the pipe at the end is read"
    transport.close()
    with pytest.raises(BackendError, match="no pipe"):
        _ = backend.reader
    backend.start().wait_ready()
    reader = backend.reader
    reader.stop(0)
    assert backend.running
    backend.restart()
    assert backend.reader is not reader


def test_it_waits_for_the_end(make: Make) -> None:
    backend = make()
    with pytest.raises(BackendError, match="does not run"):
        backend.wait()
    backend.start().wait_ready()
    os.kill(backend.pid, signal.SIGTERM)
    assert backend.wait() == 0


def test_two_replicas_on_one_log_each_know_their_own_port(make: Make) -> None:
    first, second = make().start(), make().start()
    assert first.wait_ready().base_url != second.wait_ready().base_url
    for backend in (first, second):
        ports = [line["port"] for line in LogTap(backend.log_file).since(0) if line.get("pid") == backend.pid]
        assert backend.base_url == f"http://127.0.0.1:{ports[0]}"


def test_what_stays_in_its_group_is_killed_with_it(make: Make) -> None:
    backend = make("child").start().wait_ready()
    (child,) = eventually(lambda: psutil.Process(backend.pid).children(), 5)
    backend.kill()
    backend.stop()
    eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 5)


@pytest.mark.parametrize("group", [False, True])
def test_a_group_dies_with_its_first_process_when_it_is_meant(group: bool, make: Make) -> None:
    backend = make("child").start().wait_ready()
    (child,) = eventually(lambda: psutil.Process(backend.pid).children(), 5)
    backend.kill(group=group)

    def gone() -> bool:
        return not child.is_running() or child.status() == psutil.STATUS_ZOMBIE

    if group:
        eventually(gone, 5)
    assert gone() is group


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandNotFoundError, match="command not found: nexmdm-is-not-installed"):
        Backend(["nexmdm-is-not-installed", "serve"], {}, tmp_path / "log").start()
