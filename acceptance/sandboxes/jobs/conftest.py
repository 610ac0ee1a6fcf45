"""The fixtures of these cases: the system with two web workers and a fake provider, which both begin empty."""

import pytest

from acceptance.sandboxes.pool import Pool
from acceptance.system.system import System
from harness.provider.server import ProviderControl
from harness.waiting import eventually

RAN_ONCE = "select count(*) from job_runs where finished_at is not null and lease_id is null"


@pytest.fixture
def system(two_workers: System) -> System:
    return two_workers


@pytest.fixture(scope="session")
def job_pool(two_workers: System, shared_pool_of_two: Pool) -> Pool:
    """Each job has had the run that is due at a start; the next is a day away."""
    eventually(lambda: two_workers.db.value(RAN_ONCE) == 4, within_s=30.0)
    return shared_pool_of_two


@pytest.fixture
def provider(system: System) -> ProviderControl:
    """It lists nothing, has been asked for nothing and has no script."""
    system.provider.reset()
    return system.provider


@pytest.fixture
def pool(job_pool: Pool, provider: ProviderControl) -> Pool:  # noqa: ARG001 - both begin empty
    """The pool of `system`, without any row; the breaker is closed."""
    job_pool.wipe()
    return job_pool
