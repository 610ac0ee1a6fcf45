"""Wires the chaos cases to pytest: the fixture that does a fault, a line as each ends, the table and its artifact.

Does not write result.json: the suite's conftest does, with the limits that it is given here.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from acceptance.chaos import report
from acceptance.chaos.assertions import BEGUN, SUFFERED, Suffer
from acceptance.chaos.experiment import SETTINGS, NewScene, Scene
from acceptance.suite.environments import Stacks
from acceptance.suite.results import RESULTS
from acceptance.system.system import System
from harness.settings import artifacts
from harness.stack.tcp_balancer import Balancer


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sample", action="store_true", help="most faults, each once")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.sample and not config.option.case:
        items[:] = [item for item in items if item.get_closest_marker("whole_run") is None]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "whole_run: --sample leaves it out: another case does nearly the same")
    config.stash[SUFFERED] = []
    config.stash[BEGUN] = time.monotonic()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Before the suite's conftest judges the run."""
    config = session.config
    rows = config.stash[SUFFERED]
    if not rows:
        return
    report.write(artifacts(config.option.suite), rows, sample=config.option.sample)
    results = config.stash[RESULTS]
    results.judgements += report.limits(rows)
    results.files.append(report.NAME)
    results.tables.append(report.markdown(rows))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in report.lines(rows) if (rows := config.stash[SUFFERED]) else ():
        terminalreporter.write_line(line)


@pytest.fixture
def suffer(request: pytest.FixtureRequest) -> Suffer:
    return Suffer(request)


@pytest.fixture
def scene(stacks: Stacks) -> Iterator[NewScene]:
    """scene(replicas=2, env={...}): a system of its own that is ready for traffic; replicas are behind a balancer."""
    with ExitStack() as made:

        def make(
            *,
            env: dict[str, str] | None = None,
            replicas: int = 1,
            clock: Callable[[], float] = time.time,
            **options: Any,
        ) -> Scene:
            system: System = stacks.fresh(env=SETTINGS | (env or {}), replicas=replicas, provider=True, **options)
            end = partial(stacks.end, system)
            made.callback(end)
            url = system.target.base_url
            if replicas > 1:
                replicas_urls = [backend.base_url for backend in system.running.backends]
                url = made.enter_context(Balancer.start(replicas_urls)).url
            one = Scene(system, url, end=end, clock=clock)
            made.callback(one.close)
            return one

        yield make
