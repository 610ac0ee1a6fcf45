"""The fixtures of these cases: the system with two web workers and a fake provider, which both begin and end empty.

Others have that system after them: a script that fails each sync, or an open breaker, would be theirs.
"""

from collections.abc import Iterator

import pytest

from acceptance.sandboxes.pool import Pool
from acceptance.system.system import System
from harness.provider.server import ProviderControl


@pytest.fixture
def system(two_workers: System) -> System:
    return two_workers


@pytest.fixture
def provider(system: System) -> Iterator[ProviderControl]:
    """It lists nothing, has been asked for nothing and has no script."""
    system.provider.reset()
    yield system.provider
    system.provider.reset()


@pytest.fixture
def pool(shared_pool_of_two: Pool, provider: ProviderControl) -> Iterator[Pool]:  # noqa: ARG001 - both begin empty
    """The pool of `system`, without any row; the breaker is closed."""
    shared_pool_of_two.wipe()
    yield shared_pool_of_two
    shared_pool_of_two.wipe()
