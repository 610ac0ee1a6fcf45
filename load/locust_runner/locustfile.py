"""What makes a Locust file of a scenario, headless or with Locust's web page, in one process or several.

It takes the target from the environment (harness/settings.py); `--host` wins over NEXMDM_BASE_URL. Devices and
students run in one process: a thousand do not need more. At an arrival rate `--processes N` or `--master` makes
several: the master seeds, plans, adds up what the workers counted, and judges; the workers only send. Exit code, of the
master: 0 pass, 1 fail, 2 inconclusive.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any, NoReturn

import gevent
from locust import User, events
from locust.env import Environment
from locust.event import EventHook
from locust.runners import LocalRunner, MasterRunner, Runner, WorkerRunner
from rich.console import Console

from harness import preflight
from harness.settings import SettingsError, Target, artifacts
from load.arrival_rate.catalogue import WORKLOADS
from load.arrival_rate.conductor import Conductor
from load.arrival_rate.workers import LocalWorker, Source
from load.arrival_rate.workload import Subject
from load.locust_runner.driver import Driver
from load.locust_runner.users import Idle, SimulatedUser
from load.locust_runner.verdict_page import VerdictPage
from load.locust_runner.workers import LocustWorker, LocustWorkers
from load.measurements.run import Scenario
from load.progress import Conducted, Live, show
from load.workloads.arrival_rate import ArrivalRate
from load.workloads.catalogue import OfUsers
from load.workloads.options import add_options, chosen
from load.workloads.simulation import Fanout
from load.workloads.students import MultiLab


def locust_file(scenario: Scenario, subject: Callable[[Target], Subject] | None = None) -> type[User]:
    """Make the calling module the Locust file of this scenario. It must keep the class that is returned in a variable:
    Locust looks for users among a file's names. subject: instead of
    the one of the scenario's workload."""
    file = _File(scenario, subject)
    listeners: tuple[tuple[EventHook, Callable[..., None]], ...] = (
        (events.init_command_line_parser, file.add_arguments),
        (events.init, file.prepare),
        (events.test_start, file.begin),
        (events.test_stop, file.stop),
        (events.quitting, file.quit),
    )
    for hook, listener in listeners:
        hook.add_listener(listener)  # type: ignore[no-untyped-call]  # locust ships this one without annotations
    return Idle if isinstance(scenario, ArrivalRate) else SimulatedUser


class _File:
    """conducted: the present run, or the last one. document: its result.json, once it is over."""

    def __init__(self, scenario: Scenario, subject: Callable[[Target], Subject] | None) -> None:
        self._scenario = scenario
        if isinstance(scenario, ArrivalRate):
            self._subject = subject or WORKLOADS[scenario.workload].subject
        self._workers: LocustWorkers | None = None
        self._worker: LocustWorker | None = None
        self.conducted: Conducted | None = None
        self.document: dict[str, Any] | None = None
        self.trouble = ""

    def add_arguments(self, parser: ArgumentParser, **_: Any) -> None:
        add_options(parser, self._scenario)

    def prepare(self, environment: Environment, runner: Runner, **_: Any) -> None:
        options: Namespace | None = environment.parsed_options
        if options is None:
            return  # our own runner does this itself
        if isinstance(self._scenario, OfUsers) and not isinstance(runner, LocalRunner):
            self._refuse("it runs in one process: no --master, --worker or --processes")
        if isinstance(runner, WorkerRunner):
            self._worker = LocustWorker(runner, lambda: self._source(environment))
            return
        if isinstance(runner, MasterRunner):
            self._workers = LocustWorkers(runner)
        try:
            target, wanted = self._asked_for(environment)
            if isinstance(wanted, ArrivalRate):
                self._subject(target)  # may be impossible, too
        except (SettingsError, ValueError) as error:
            self._refuse(str(error))
        # Ours, not Locust's: all users start at once, and the end comes when the last thing was looked at.
        options.num_users = options.spawn_rate = wanted.devices if isinstance(wanted, OfUsers) else 1
        options.run_time = None
        environment.host = target.base_url
        if environment.web_ui is not None:
            VerdictPage(self, self._scenario).add_to(environment.web_ui)

    def _asked_for(self, environment: Environment) -> tuple[Target, Scenario]:
        """SettingsError, ValueError: it could not work."""
        options = environment.parsed_options
        assert options is not None, "Locust itself always has options"
        if isinstance(self._scenario, OfUsers) and options.num_users:  # -u, or as it was filled in on Locust's page
            whom = "crowd" if isinstance(self._scenario, MultiLab) else self._scenario.whom
            setattr(options, whom, options.num_users)
        if options.run_time is not None:
            if isinstance(self._scenario, Fanout | MultiLab):
                raise ValueError(f"{self._scenario.name} has no duration: it ends with the last result")
            options.duration = float(options.run_time)
        return preflight.given_target(_environ(environment.host)), chosen(self._scenario, options)

    def begin(self, environment: Environment, **_: Any) -> None:
        if environment.parsed_options is None or isinstance(environment.runner, WorkerRunner):
            return
        self.document, self.trouble = None, ""
        try:
            self.conducted = self._conducted(environment)
        except (SettingsError, ValueError) as error:  # as it was filled in on Locust's page
            self.conducted, self.trouble = None, str(error)
            return
        gevent.spawn(self._follow, environment, self.conducted)

    def _conducted(self, environment: Environment) -> Conducted:
        assert environment.parsed_options is not None
        target, wanted = self._asked_for(environment)
        drawn = environment.parsed_options.seed in (None, "")  # the latter: an empty field on Locust's page
        seed = None if drawn else int(environment.parsed_options.seed)
        if isinstance(wanted, ArrivalRate):
            subject = self._subject(target)
            return Conductor(
                wanted, target, self._workers or LocalWorker(Source(target.base_url, subject)), subject, seed
            )
        assert isinstance(wanted, OfUsers)
        driver = SimulatedUser.driver = Driver(environment, wanted, target, seed)
        return driver

    def _source(self, environment: Environment) -> Source:
        """What a worker sends by. SettingsError: its own environment does not say."""
        target = preflight.given_target(_environ(environment.host))
        return Source(target.base_url, self._subject(target))

    def _follow(self, environment: Environment, conducted: Conducted) -> None:
        greenlet = conducted.begin()
        with Live(self._scenario.name, Console(stderr=True, highlight=False, force_terminal=False)) as live:
            while not greenlet.ready():
                greenlet.join(timeout=0.5)
                live.update(conducted.now())
        if conducted is not self.conducted:
            return  # it was stopped, and another has begun
        self._conclude("")
        if environment.runner is not None:
            environment.runner.stop() if environment.web_ui is not None else environment.runner.quit()

    def stop(self, **_: Any) -> None:
        """Locust's button, or the end of a run."""
        self._conclude("stopped")

    def quit(self, environment: Environment, **_: Any) -> None:
        if self._worker is not None:
            self._worker.stop()
            return
        self._conclude("interrupted")
        # 2: there was no run.
        environment.process_exit_code = 2 if self.document is None else int(self.document["exit_code"])

    def _conclude(self, why: str) -> None:
        """why: it ends, if it is not over."""
        if self.conducted is None or self.document is not None:
            return
        self.conducted.end(why)
        directory = artifacts(self._scenario.name)
        self.document = self.conducted.conclude(directory)
        show(self.document, directory, Console(stderr=True, highlight=False))

    def _refuse(self, why: str) -> NoReturn:
        print(f"{self._scenario.name}: {why}", file=sys.stderr)
        sys.exit(2)


def _environ(host: str | None) -> dict[str, str]:
    """The environment with Locust's host in it. A host other than its own has other insides."""
    environ = dict(os.environ)
    if host is not None and host.rstrip("/") != environ.get("NEXMDM_BASE_URL", host).rstrip("/"):
        insides = (
            "DATABASE_URL",
            "NEXMDM_LOG_FILE",
            "NEXMDM_FCM_URL",
            "NEXMDM_PROVIDER_CONTROL_URL",
            "NEXMDM_BACKEND_PID",
            "NEXMDM_OBJECTS_DIR",
        )
        for name in insides:
            environ.pop(name, None)
    return environ | ({"NEXMDM_BASE_URL": host} if host is not None else {})
