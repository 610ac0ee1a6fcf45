"""Wires the cases to pytest: fixtures, one PostgreSQL for all workers, verdicts, what a failing case prints.

Does not assert anything about the product, and starts no backend itself: stacks.py does.
"""

import contextlib
import shutil
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from acceptance.suite import case as cases
from acceptance.suite import failure_report
from acceptance.suite.environments import (
    JOBS_ONCE,
    StackError,
    Stacks,
    capabilities,
    given_target,
    prepared_postgres,
    sweep_artifacts,
)
from acceptance.suite.results import RESULTS, Results
from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.metrics import Metrics
from acceptance.system.raw import Raw
from acceptance.system.system import Enrolled, FreshBackend, NewDevice, Nexmdm, System, Tokens, Unchanged
from harness import preflight, waiting
from harness.fcm.server import FcmControl
from harness.http.raw_http import Sockets
from harness.options import positive
from harness.postgres.server import READER_ROLE, Postgres
from harness.processes.child import bare_environment, run_to_end
from harness.settings import SECRETS, SettingsError, artifacts, backend_command
from harness.stack.warm_stacks import warm_stacks

STACKS = pytest.StashKey[Stacks]()
POSTGRES = pytest.StashKey[Postgres]()


def folder(config: pytest.Config) -> Path:
    return artifacts(config.option.suite)


# --- the run -------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--case register/004`, as often as wanted: these cases and no others. For the other options see --help."""
    parser.addoption("--case", action="append", default=[], metavar="ID", help="run this case; may be repeated")
    parser.addoption("--upload-mib", type=positive, default=128, metavar="N", help="the size of upload/004's upload")
    parser.addoption("--suite", default="acceptance", metavar="NAME", help="what its folder of artifacts is called")
    parser.addoption("--warm-starts", metavar="PYTHON", help="fork backends from this, their Python: 3 s less for each")
    parser.addoption("--on-s3", action="store_true", help="the objects of every system lie on an S3 server")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the option
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """A given target has one database, so one process asks it: what others do would show in digests and deltas.

    One that cannot be tested ends the run here, with one line and exit code 2.
    """
    try:
        if given_target() is not None:
            if not config.option.collectonly:
                preflight.given_target()
            if getattr(config.option, "numprocesses", None):
                config.option.numprocesses = 0
    except SettingsError as error:
        sys.stderr.write(f"{config.option.suite}: {error}\n")
        return 2
    config.option.maxschedchunk = 1  # a case that starts a backend takes seconds: nobody may sit on a queue of them
    return None


@pytest.hookimpl(tryfirst=True)  # before the plugin that writes the file reads the option
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "case(case): an acceptance case with its id and requirement; set by @case")
    if config.option.tbstyle == "auto":
        config.option.tbstyle = "short"  # what was asked and answered tells more than the insides of helpers
    for module in (contextlib, waiting):
        vars(module)["__tracebackhide__"] = True  # pytest leaves out their frames
    if not hasattr(config, "workerinput"):
        shutil.rmtree(folder(config) / "logs", ignore_errors=True)
        config.stash[RESULTS] = Results(time.time(), config.option.suite)
        config.pluginmanager.register(config.stash[RESULTS])
        if not config.option.xmlpath:
            config.option.xmlpath = str(folder(config) / "junit.xml")


def pytest_sessionstart(session: pytest.Session) -> None:
    """One PostgreSQL for the run, started here and handed to the workers; nothing for an external target."""
    config, given = session.config, given_target()
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is not None:
        postgres = Postgres.attach(worker["postgres"], template_name=worker["template"]) if worker["postgres"] else None
    elif "stack" not in capabilities() or config.option.collectonly:
        postgres = None
    else:
        try:
            postgres = config.stash[POSTGRES] = prepared_postgres()
        except StackError as error:
            pytest.exit(f"nothing to test with: {error}", returncode=2)
    name = worker["workerid"] if worker else "main"
    logs = folder(config) / "logs" / name
    starts_backends = worker is not None or not getattr(config.option, "numprocesses", None)
    if starts_backends and postgres is not None and (python := config.option.warm_starts):
        command = str(Path(python).with_name("nexmdm"))
        warm_stacks(python, lambda argv: argv[0] == command, one_backend=True)
    config.stash[STACKS] = Stacks(given, postgres, logs, on_s3=config.option.on_s3)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Runs in the controller of pytest-xdist, for each worker that it is about to start."""
    postgres = node.config.stash.get(POSTGRES, None)
    node.workerinput["postgres"] = postgres.admin_url if postgres else None
    node.workerinput["template"] = postgres.template_name if postgres else None


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    told = getattr(node, "workeroutput", {})
    results = node.config.stash[RESULTS]
    results.complaints += told.get("complaints", ["a worker died before its sweep"])
    results.starts_s += told.get("starts_s", [])
    SECRETS.add(*told.get("secrets", []))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    cases.check(items)
    if wanted := config.option.case:
        items[:] = cases.pick(items, wanted)
    cases.disable(items, capabilities() | config.stash[STACKS].roles)
    items.sort(key=lambda item: "stack" not in cases.needs(item))  # the slow ones first, so that no worker ends alone


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Ends the systems before pytest reports, and judges the run when every other artifact is written."""
    config: Any = session.config
    complaints = config.stash[STACKS].close() if STACKS in config.stash else []
    starts_s = config.stash[STACKS].starts_s if STACKS in config.stash else []
    if hasattr(config, "workerinput"):
        config.workeroutput.update(complaints=complaints, starts_s=starts_s, secrets=sorted(SECRETS.known()))
        yield
        return
    results = config.stash[RESULTS]
    results.complaints += complaints
    results.starts_s += starts_s
    results.seed = config.getoption("randomly_seed", None)
    yield
    if POSTGRES in config.stash:
        config.stash[POSTGRES].stop()
    if results.cases:
        results.complaints += sweep_artifacts(folder(config))
        code = results.write(folder(config), capabilities() - {"stack"})
        session.exitstatus = code if int(session.exitstatus) in (0, 1) else 2
    elif int(session.exitstatus) not in (0, 1):
        session.exitstatus = 2  # no case ran: nothing can be said
    terminal = config.pluginmanager.getplugin("terminalreporter")
    for complaint in results.complaints[:20]:
        terminal.write_line(f"SWEEP {complaint}", red=True)
    terminal.write_line(f"artifacts: {folder(config)}")


# --- a case --------------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    for system in item.config.stash[STACKS].live:
        system.begin()
    yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """A case that went through has passed only when every request of it is in the access log too."""
    yield
    for system in item.config.stash[STACKS].live:
        system.check_log()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    found = cases.of(item)
    if found is not None:
        systems = item.config.stash[STACKS].live
        judged = [one for system in systems for one in system.api.judged]
        seen = sorted({f"{one.operation}={outcome}" for one in judged for outcome in one.outcomes})
        report.user_properties = [
            ("case", found.case_id),
            ("requirement", found.requirement),
            ("proves", ", ".join(found.proves)),
            ("seen", " ".join(seen)),
        ]
        if report.failed:
            report.user_properties.append(("why", SECRETS.mask(failure_report.why(report))))
            report.longrepr = SECRETS.mask(str(report.longrepr))
            report.sections += failure_report.sections(found, systems, folder(item.config))
    return report


@pytest.fixture(scope="session")
def stacks(pytestconfig: pytest.Config) -> Stacks:
    return pytestconfig.stash[STACKS]


@pytest.fixture
def system(stacks: Stacks) -> System:
    """The system that the cases of this process share. A case owns what it creates and asserts no totals."""
    return stacks.shared()


@pytest.fixture
def api(system: System) -> Api:
    return system.api


@pytest.fixture
def logs(system: System) -> Logs:
    return system.logs


@pytest.fixture
def db(system: System) -> Database:
    return system.db


@pytest.fixture
def metrics(system: System) -> Metrics:
    return system.metrics


@pytest.fixture
def fcm(system: System) -> FcmControl:
    return system.fcm


@pytest.fixture
def unchanged(system: System) -> Unchanged:
    """with unchanged(): a block after which every row of every table must be as before."""
    return system.unchanged


@pytest.fixture
def tokens(system: System) -> Tokens:
    """tokens(3, scope=...): newly issued enrolment tokens."""
    return system.tokens


@pytest.fixture
def device(system: System) -> NewDevice:
    """device(): a newly enrolled device."""
    return system.device


@pytest.fixture
def somebody(system: System) -> Enrolled:
    """An enrolled device for cases that change nothing of it."""
    return system.somebody


@pytest.fixture
def sockets(system: System) -> Sockets:
    """Bare connections to the shared system; only where nothing stands between it and us."""
    return Sockets(system.target.base_url)


@pytest.fixture
def raw(system: System) -> Raw:
    """Single requests as exact bytes; also to a given deployment, where every proxy in between has to keep them."""
    return Raw(system.api)


@pytest.fixture
def fresh_backend(stacks: Stacks) -> Iterator[FreshBackend]:
    """fresh_backend(workers=2, env={...}): a system with a database and processes of its own, for this case alone."""
    started: list[System] = []

    def start(*args: Any, **options: Any) -> System:
        started.append(stacks.fresh(*args, **options))
        return started[-1]

    yield start
    for one in started:
        stacks.end(one)


@pytest.fixture
def app_role(stacks: Stacks) -> str:
    """The database role that the backends of this run have. A server that lets nobody make one disables the case."""
    role = stacks.postgres and stacks.postgres.app_role
    assert role
    return role


@pytest.fixture
def reader_role() -> str:
    """The database role that `db` reads as. Only a server of our own has it."""
    return READER_ROLE


@pytest.fixture(scope="session")
def two_workers(stacks: Stacks) -> System:
    """A system whose backend has two web processes and a provider of sandboxes, shared like `system`.

    The jobs of its pool run once, at the start; the provider is given up after a second.
    """
    return stacks.fresh(workers=2, env=JOBS_ONCE | {"NEXMDM_PROVIDER_TIMEOUT_S": "1"}, provider=True)


@pytest.fixture
def nexmdm() -> Nexmdm:
    """nexmdm(["check-config"], env): exit code and output of the command in an environment of nothing else."""

    def run(arguments: list[str], env: dict[str, str]) -> tuple[int, str]:
        return run_to_end([backend_command(), *arguments], env=bare_environment(env), within_s=30.0)

    return run
