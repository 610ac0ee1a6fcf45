"""The Locust user that is a device, and what makes a Locust file of a scenario. It conducts nothing.

Such a file takes the target from the environment (harness/settings.py); `--host` wins over NEXMDM_BASE_URL, `-u` sets
the devices, `-t` the duration, `--seed` repeats a schedule. Exit code 0 pass, 1 fail, 2 inconclusive. It runs in one
process: a thousand devices do not need more, and the verdict wants all samples in one place.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from locust import FastHttpUser, events, task
from locust.env import Environment
from locust.event import EventHook
from locust.exception import StopUser
from locust.runners import LocalRunner, Runner
from rich.console import Console

from harness import preflight
from harness.settings import SettingsError, artifacts
from load.locust_runner.driver import Driver
from load.locust_runner.transport import trusted
from load.progress import show
from load.workloads.options import add_options, chosen
from load.workloads.simulation import SIM20, Fanout, Simulated


class SimulatedUser(FastHttpUser):
    """One device. Locust starts it; what it does and when is the engine's."""

    driver: ClassVar[Driver | None] = None
    network_timeout = SIM20.request_timeout_s
    connection_timeout = SIM20.request_timeout_s
    insecure = False
    ssl_context_factory = staticmethod(trusted)

    @task
    def live(self) -> None:
        if self.driver is not None:
            self.driver.live(self.client)
        raise StopUser


def locust_file(scenario: Simulated) -> None:
    """Make the calling module the Locust file of this scenario. It must import SimulatedUser by name, too."""

    def arguments(parser: ArgumentParser, **_: Any) -> None:
        add_options(parser, scenario)

    def prepare(environment: Environment, runner: Runner | None = None, **_: Any) -> None:
        _prepare(scenario, environment, runner)

    listeners: tuple[tuple[EventHook, Callable[..., None]], ...] = (
        (events.init_command_line_parser, arguments),
        (events.init, prepare),
        (events.test_start, _begin),
        (events.quitting, _end),
    )
    for hook, listener in listeners:
        hook.add_listener(listener)  # type: ignore[no-untyped-call]  # locust ships this one without annotations


def _prepare(scenario: Simulated, environment: Environment, runner: Runner | None) -> None:
    options: Namespace | None = environment.parsed_options
    if options is None:
        return  # our own runner does this itself
    if not isinstance(runner, LocalRunner):
        _refuse(scenario, "it runs in one process: no --master, --worker or --processes")
    try:
        target = preflight.given_target(_environ(environment.host))
        wanted = _chosen(scenario, options)
    except (SettingsError, ValueError) as error:
        _refuse(scenario, str(error))
    # Ours, not Locust's: all devices start at once, and the end comes when the last result was looked at.
    options.num_users = options.spawn_rate = wanted.devices
    options.run_time = None
    environment.host = target.base_url
    SimulatedUser.driver = Driver(environment, wanted, target, artifacts(wanted.name), options.seed)


def _chosen(scenario: Simulated, options: Namespace) -> Simulated:
    """-u and -t, which every user of Locust knows, stand for --devices and --duration. ValueError."""
    if options.num_users:
        options.devices = options.num_users
    if options.run_time is not None:
        if isinstance(scenario, Fanout):
            raise ValueError(f"{scenario.name} has no duration: it ends with the last result")
        options.duration = float(options.run_time)
    wanted = chosen(scenario, options)
    assert isinstance(wanted, Simulated)
    return wanted


def _environ(host: str | None) -> dict[str, str]:
    """The environment with Locust's host in it. A host other than its own has another database, log and FCM."""
    environ = dict(os.environ)
    if host is not None and host.rstrip("/") != environ.get("NEXMDM_BASE_URL", host).rstrip("/"):
        for name in ("DATABASE_URL", "NEXMDM_LOG_FILE", "NEXMDM_FCM_URL", "NEXMDM_BACKEND_PID"):
            environ.pop(name, None)
    return environ | ({"NEXMDM_BASE_URL": host} if host is not None else {})


def _refuse(scenario: Simulated, why: str) -> NoReturn:
    print(f"{scenario.name}: {why}", file=sys.stderr)
    sys.exit(2)


def _begin(**_: Any) -> None:
    if SimulatedUser.driver is not None:
        SimulatedUser.driver.begin()


def _end(environment: Environment, **_: Any) -> None:
    driver = SimulatedUser.driver
    if driver is not None:
        driver.end("interrupted")
        environment.process_exit_code = driver.exit_code
        if driver.document is not None:
            show(driver.document, driver.directory, Console(stderr=True, highlight=False))
