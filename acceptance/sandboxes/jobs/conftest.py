"""The fixtures of these cases: the system with two web workers and a fake provider, which both begin empty."""

import pytest

from acceptance.sandboxes.pool import Pool
from acceptance.system.system import System
from harness.provider.server import ProviderControl


@pytest.fixture
def system(two_workers: System) -> System:
    return two_workers


@pytest.fixture
def provider(system: System) -> ProviderControl:
    """It lists nothing, has been asked for nothing and has no script."""
    system.provider.reset()
    return system.provider


@pytest.fixture
def pool(shared_pool_of_two: Pool, provider: ProviderControl) -> Pool:  # noqa: ARG001 - both begin empty
    """The pool of `system`, without any row; the breaker is closed."""
    shared_pool_of_two.wipe()
    return shared_pool_of_two
