"""What makes a Locust file of a scenario of open arrivals, in one process or several. It uses no users.

Takes the target from the environment (harness/settings.py); `--host` wins over NEXMDM_BASE_URL. With `--processes N`
or `--master` the master seeds, hands every worker its devices, adds up what they counted, and judges; the workers only
send. Exit code 0 pass, 1 fail, 2 inconclusive, of the master.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any, NoReturn

import gevent
from locust import User, events, task
from locust.env import Environment
from locust.event import EventHook
from locust.exception import StopUser
from locust.runners import MasterRunner, Runner, WorkerRunner
from rich.console import Console

from harness import preflight
from harness.processes.child import allow_descriptors
from harness.settings import SettingsError, Target, artifacts
from load.arrival_rate.conductor import Conductor
from load.arrival_rate.target import SeededFleet, Subject
from load.arrival_rate.workers import Alone
from load.locust_runner.workers import Worker, Workers
from load.progress import Live, show
from load.workloads.arrival_rate import ArrivalRate
from load.workloads.options import add_options, chosen


class Idle(User):
    """Locust insists on a user. The beats are no user's: they come when they are due."""

    @task
    def stop(self) -> None:
        raise StopUser


def locust_file(scenario: ArrivalRate, subject: Callable[[Target], Subject] = SeededFleet) -> None:
    """Make the calling module the Locust file of this scenario. It must import Idle by name, too."""
    file = _File(scenario, subject)
    listeners: tuple[tuple[EventHook, Callable[..., None]], ...] = (
        (events.init_command_line_parser, file.add_arguments),
        (events.init, file.prepare),
        (events.test_start, file.begin),
        (events.quitting, file.end),
    )
    for hook, listener in listeners:
        hook.add_listener(listener)  # type: ignore[no-untyped-call]  # locust ships this one without annotations


class _File:
    def __init__(self, scenario: ArrivalRate, subject: Callable[[Target], Subject]) -> None:
        self._scenario, self._subject = scenario, subject
        self._conductor: Conductor | None = None

    def add_arguments(self, parser: ArgumentParser, **_: Any) -> None:
        add_options(parser, self._scenario)

    def prepare(self, environment: Environment, runner: Runner, **_: Any) -> None:
        allow_descriptors()
        if isinstance(runner, WorkerRunner):
            Worker(runner)
            return
        options = environment.parsed_options
        assert options is not None, "Locust itself always has options"
        try:
            target = preflight.given_target(_environ(environment.host))
            crew = Workers(runner) if isinstance(runner, MasterRunner) else Alone()
            scenario, subject = chosen(self._scenario, options), self._subject(target)
            assert isinstance(scenario, ArrivalRate)
            self._conductor = Conductor(scenario, target, crew, subject, options.seed)
        except (SettingsError, ValueError) as error:
            self._refuse(str(error))
        # Ours, not Locust's: the run ends when the last leg was looked at.
        options.num_users, options.spawn_rate, options.run_time = 1, 1, None
        environment.host = target.base_url

    def begin(self, environment: Environment, **_: Any) -> None:
        if self._conductor is not None:
            gevent.spawn(self._follow, environment, self._conductor)

    def _follow(self, environment: Environment, conductor: Conductor) -> None:
        greenlet = conductor.begin()
        with Live(self._scenario.name, Console(stderr=True, highlight=False, force_terminal=False)) as live:
            while not greenlet.ready():
                greenlet.join(timeout=0.5)
                live.update(conductor.now())
        if environment.runner is not None:
            environment.runner.quit()

    def end(self, environment: Environment, **_: Any) -> None:
        if self._conductor is None:
            return
        self._conductor.end("interrupted")
        directory = artifacts(self._scenario.name)
        document = self._conductor.conclude(directory)
        environment.process_exit_code = int(document["exit_code"])
        show(document, directory, Console(stderr=True, highlight=False))

    def _refuse(self, why: str) -> NoReturn:
        print(f"{self._scenario.name}: {why}", file=sys.stderr)
        sys.exit(2)


def _environ(host: str | None) -> dict[str, str]:
    """The environment with Locust's host in it. A host other than its own has another database, log and FCM."""
    environ = dict(os.environ)
    if host is not None and host.rstrip("/") != environ.get("NEXMDM_BASE_URL", host).rstrip("/"):
        for name in ("DATABASE_URL", "NEXMDM_LOG_FILE", "NEXMDM_FCM_URL", "NEXMDM_BACKEND_PID"):
            environ.pop(name, None)
    return environ | ({"NEXMDM_BASE_URL": host} if host is not None else {})
