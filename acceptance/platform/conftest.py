"""The fixtures of these cases: the platform of the shared system, and a fresh zone in it for each case."""

import base64

import pytest

from acceptance.platform.bricks import first_turns
from acceptance.platform.zones import Platform
from acceptance.suite.environments import Stacks
from acceptance.system.system import System
from harness.platform.zone import Zone

MOUNTS = {
    "NEXMDM_PLATFORM_SECRETS_KEY": base64.urlsafe_b64encode(bytes(32)).decode(),
    "NEXMDM_PLATFORM_MOUNT_ENDPOINTS": "http://127.0.0.1:9",
}


@pytest.fixture
def system(stacks: Stacks) -> System:
    """The shared system, where the run has started it: cases write rows to begin with."""
    return stacks.own()


@pytest.fixture(scope="session")
def platform(stacks: Stacks) -> Platform:
    """No loop takes up what a case leaves for later: each has had its turn, and most have the next in a day."""
    first_turns(stacks.own())
    return Platform(stacks.own())


@pytest.fixture
def zone(platform: Platform) -> Zone:
    """A new zone of `platform` as a member of it sees it, without limits."""
    return platform.zone()


@pytest.fixture(scope="session")
def sweeping(stacks: Stacks) -> Platform:
    """The platform of a system whose loops look every 200 ms, with two streams, secrets, and short waits of pushes."""
    every = {f"NEXMDM_PLATFORM_{loop}_EVERY_S": "0.2" for loop in ("SWEEP", "SYNC", "TASKS")}
    return Platform(
        stacks.fresh(env={**every, "NEXMDM_PLATFORM_STREAMS": "2", "NEXMDM_PLATFORM_PUSH_WAIT_S": "0.5", **MOUNTS})
    )


@pytest.fixture(scope="session")
def platform_of_two(two_workers: System) -> Platform:
    """The platform of `two_workers`, with loops that rest as those of `platform`."""
    first_turns(two_workers)
    return Platform(two_workers)
