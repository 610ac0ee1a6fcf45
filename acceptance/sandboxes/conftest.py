"""The fixtures of these cases: the pool of the shared system, which begins without anything to give out."""

import pytest

from acceptance.sandboxes.pool import Pool, first_runs
from acceptance.suite.environments import Stacks
from acceptance.system.system import System


@pytest.fixture
def system(stacks: Stacks) -> System:
    """The shared system, where the run has started it: cases write rows to begin with."""
    return stacks.own()


@pytest.fixture(scope="session")
def shared_pool(stacks: Stacks) -> Pool:
    return Pool(stacks.own())


@pytest.fixture
def pool(shared_pool: Pool) -> Pool:
    """The pool of `system`. It is empty: what earlier cases have left to give out is gone."""
    shared_pool.clear()
    return shared_pool


@pytest.fixture(scope="session")
def shared_pool_of_two(two_workers: System) -> Pool:
    """No job holds up what a case does: each has run, and the next run is a day away."""
    first_runs(two_workers)
    return Pool(two_workers)


@pytest.fixture
def pool_of_two(shared_pool_of_two: Pool) -> Pool:
    """The pool of `two_workers`, with nothing to give out."""
    shared_pool_of_two.clear()
    return shared_pool_of_two
