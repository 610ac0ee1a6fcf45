"""Locust file of the 20-device simulation (seed 000 B): `locust --headless -f load/sim20.py --host URL`.

Takes the target from the environment (harness/settings.py); `--host` wins over NEXMDM_BASE_URL, `-u` sets the devices,
`-t` the duration of the heartbeats, `--seed` repeats a schedule. Exit code 0 pass, 1 fail, 2 inconclusive. It
deliberately runs in one process: a few devices do not need more, and the verdict wants all samples in one place.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, NoReturn

from locust import FastHttpUser, events, task
from locust.env import Environment
from locust.event import EventHook
from locust.exception import StopUser
from locust.runners import LocalRunner, Runner
from rich.console import Console

from harness.settings import SettingsError, Target, artifacts
from load.driver import Driver
from load.profiles import SIM20
from load.progress import show


class SimulatedDevice(FastHttpUser):
    """One device. Locust starts it; what it does and when is the simulation's."""

    driver: ClassVar[Driver | None] = None
    network_timeout = SIM20.request_timeout_s
    connection_timeout = SIM20.request_timeout_s
    insecure = False

    @task
    def live(self) -> None:
        if self.driver is not None:
            self.driver.live(self.client)
        raise StopUser


def _add_arguments(parser: ArgumentParser, **_: Any) -> None:
    parser.add_argument("--seed", type=int, default=None, help="Repeat the schedule of an earlier run (sim20).")


def _prepare(environment: Environment, runner: Runner | None = None, **_: Any) -> None:
    options = environment.parsed_options
    if options is None:
        return  # our own runner does this itself
    if not isinstance(runner, LocalRunner):
        _refuse("sim20 runs in one process: no --master, --worker or --processes")
    try:
        target = Target.from_env(_environ(environment.host))
        profile = replace(
            SIM20,
            devices=options.num_users or SIM20.devices,
            duration_s=float(options.run_time or SIM20.duration_s),
        )
    except (SettingsError, ValueError) as error:
        _refuse(str(error))
    # Ours, not Locust's: all devices start at once, and the end comes when the last result was looked at.
    options.num_users = options.spawn_rate = profile.devices
    options.run_time = None
    environment.host = target.base_url
    SimulatedDevice.driver = Driver(environment, profile, target, artifacts(profile.name), options.seed)


def _environ(host: str | None) -> dict[str, str]:
    """The environment with Locust's host in it. A host other than its own has another database, log and FCM."""
    environ = dict(os.environ)
    if host is not None and host.rstrip("/") != environ.get("NEXMDM_BASE_URL", host).rstrip("/"):
        for name in ("DATABASE_URL", "NEXMDM_LOG_FILE", "NEXMDM_FCM_URL", "NEXMDM_BACKEND_PID"):
            environ.pop(name, None)
    return environ | ({"NEXMDM_BASE_URL": host} if host is not None else {})


def _refuse(why: str) -> NoReturn:
    print(f"sim20: {why}", file=sys.stderr)
    sys.exit(2)


def _begin(**_: Any) -> None:
    if SimulatedDevice.driver is not None:
        SimulatedDevice.driver.begin()


def _end(environment: Environment, **_: Any) -> None:
    driver = SimulatedDevice.driver
    if driver is not None:
        driver.end("interrupted")
        environment.process_exit_code = driver.exit_code
        if driver.document is not None:
            show(driver.document, driver.directory, Console(stderr=True, highlight=False))


_LISTENERS: tuple[tuple[EventHook, Callable[..., None]], ...] = (
    (events.init_command_line_parser, _add_arguments),
    (events.init, _prepare),
    (events.test_start, _begin),
    (events.quitting, _end),
)
for _hook, _listener in _LISTENERS:
    _hook.add_listener(_listener)  # type: ignore[no-untyped-call]  # locust ships this one without annotations
