"""The users that Locust starts: devices or students, and one that does nothing where requests come at a rate."""

from __future__ import annotations

from typing import ClassVar

from locust import FastHttpUser, User, task
from locust.exception import StopUser

from load.locust_runner.driver import Driver
from load.locust_runner.transport import trusted
from load.workloads.simulation import SIM20


class SimulatedUser(FastHttpUser):
    """One device, or student. Locust starts it; what it does and when is the engine's."""

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


class Idle(User):
    """Locust insists on a user. The requests of an arrival rate are no user's: they come when they are due."""

    @task
    def stop_at_once(self) -> None:
        raise StopUser
