# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2026.10"]
# ///
"""Every entry point of the repository. `nox -l` lists them; `nox -s NAME -- ARGUMENTS` hands arguments through.

    nox                 the same as `nox -s tests`
    nox -s tests        all that must be green before a push: lint, spec, harness, backend, contract, acceptance,
                        coverage, sim20 at 30 s; 10 to 15 minutes
    nox -s full         what `tests` leaves out, after it: a sample of chaos, ten mutants, dist, fleet100 in
                        two minutes, sandboxes and platform at 20 s, browser, slow; `-- --part 1/5` for a fifth of it
    nox -s slow         the tests and cases marked slow: harness-slow, backend-slow, acceptance-slow (and the coverage
                        gate over all cases), acceptance-s3 (the platform's with a bucket)
    nox -s sim20        the 20-device simulation, 2 minutes; `-- --duration 30s` for a short one
    nox -s sandboxes    the demonstration of the broker, 90 s; `-- --duration 30s`; `-- --break NAME`: against a broken
                        backend of mutants/catalogue/sandboxes, which it must notice; without NAME: which there are
    nox -s platform     the demonstration of the platform, 90 s; `-- --duration 30s`, `-- --break NAME` as above
    nox -s fleet100     100 devices every 120 s, 10 minutes; `-- --compress 10` for ten times faster
    nox -s load         the other scenarios: `-- fleet-scale`, `-- capacity`, `-- fanout`, `-- soak`,
                        `-- sandboxes-smoke`, `-stress`, `-multi`, `-steady`, `-staged`, `-jobs`, `-exhausted`;
                        `-- NAME --web`: under Locust's web page
    nox -s bench        the performance targets as ratios, on a quiet machine with wrk; e.g. `-- --quick`, and
                        before and after: `-- --against REV` measures that revision's backend and today's in pairs
    nox -s acceptance   the curated cases; e.g. `-- -k register -x`, `-- --case heartbeat/002`
    nox -s chaos        kills, outages, full disks under load: no write lost; `-- --sample`, `-- --case chaos/004`
    nox -s mutants      broken backends that the suites must catch; e.g. `-- --only 'heartbeat/*'`, `-- --sample 10`,
                        `-- --repeat 20` for races
    nox -s contract     the fuzzing of openapi.yaml, the drift check and the coverage gate; e.g. `-- --examples 20`
    nox -s coverage     every documented (operation, status) has a case: over the last acceptance and contract runs;
                        `-- --slow`: over the last run of the slow cases too
    nox -s spec         the lint of openapi.yaml alone
    nox -s backend      the backend's own tests; e.g. `-- backend/tests/fleet/test_heartbeat_writer.py`
    nox -s harness      the tests of the harness: every helper must fail when it should
    nox -s lint         ruff, mypy --strict, the import rules, shellcheck; `-- --fix` mends what can be mended
    nox -s report       draw report.html of every suite that has run anew; `-- DIR ...` for some
    nox -s browser      the reports in a real Chromium (needs one: CHROMIUM, else the one on PATH)
    nox -s pool         sandboxes for load, and whether any was given twice: `-- seed --count 200 --label x`,
                        `-- verify --label x`, `-- remove --label x`; needs DATABASE_URL alone
    nox -s up           a whole stack for people: prints its connection details, Ctrl-C (in a script SIGTERM) ends it
    nox -s dist         what is shipped: wheel and source archive, built twice and equal, sums, bill of materials
    nox -s audit        known vulnerabilities of all that is locked; inconclusive where nobody can be asked
    nox -s lock         resolve the locks anew (locks/*.txt, backend/requirements.lock)

nox ends with 1 whatever failed. `python noxfile.py -s NAME -- ARGUMENTS` takes the same arguments and ends with the
worst code of what the sessions ran: 0 pass, 1 the product failed, 2 inconclusive, 130 after Ctrl-C. It needs nox beside
it; `uv run noxfile.py ...` and `pipx run noxfile.py ...` bring it along.

A plain acceptance, harness or backend leaves out what is marked slow; one that is told what to run (a path, -k, -m,
--case) runs that, slow or not. A plain run has a budget (ci/budgets.py): at twice that it fails in CI.

Environments live in .nox/<group>, one per lock, and are made again only when their lock changed; those of other
revisions' backends live in .nox/revisions. The backend is built as a wheel into .nox/backend-runtime and started as a
process: no suite's environment contains it.
With NEXMDM_BASE_URL set, the scenarios, contract and acceptance run against that deployment and nothing is started.
This file holds no check of its own: it only prepares environments and starts commands.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import nox
from nox.command import CommandFailed

sys.path.insert(0, str(Path(__file__).parent))  # nox loads this file by its path

from ci import budgets, environments, exit_codes, parts, quick_look, scratch, side_by_side
from ci.environments import ROOT

nox.needs_version = ">=2026.10"  # tells the code of a program that failed
nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "none"  # the environments are our own: several sessions share one

IN_CI = os.environ.get("CI", "").lower() in ("1", "true")
# What takes hours or minutes in production happens within the demonstration.
DEMONSTRATION = (
    "WORKERS=2",
    "SANDBOX_DURATION_S=8",
    "SANDBOX_GRACE_S=2",
    "SANDBOX_MAX_DURATION_S=120",
    "SYNC_EVERY_S=2",
    "DRY_SYNC_EVERY_S=2",
    "CLEANUP_EVERY_S=2",
    "EXPIRY_EVERY_S=2",
    "DELETION_BACKOFF_BASE_S=1",
    "DELETION_BACKOFF_CAP_S=3",
    "DELETION_ATTEMPTS=20",
    "PROVIDER_TIMEOUT_S=5",
    "DELETION_LEASE_S=15",
    "BREAKER_OPEN_S=3",
)
# Where the tests of the suites' own helpers run: the environment, the folder.
OWN_TESTS = ("harness/tests", "ci/tests", "mutants/tests", "report/tests")
SLOW_HELPERS = (("load", "load"), ("contracts", "contracts"), ("acceptance", "bench"))
HELPERS = (*SLOW_HELPERS, ("acceptance", "acceptance"))
SELECTING = ("-k", "-m", "--case")
# What the stack of a scenario is set to. The pool's jobs rest where they are not the subject.
AT_REST = ("WORKERS=2", "SYNC_EVERY_S=86400", "DRY_SYNC_EVERY_S=86400", "STATS_EVERY_S=1")
# docs/operations.md, "PostgreSQL under a large pool".
LARGE_POOL = ("max_wal_size=8GB", "checkpoint_timeout=15min", "shared_buffers=512MB")
SETTINGS = {
    "contract": ("BCRYPT_COST=4",),  # thousands of valid registrations
    "sandboxes": DEMONSTRATION,
    "platform": ("WORKERS=2", "PLATFORM_AGENT_TTL_S=3", "PLATFORM_SWEEP_EVERY_S=1"),
    "sandboxes-steady": AT_REST,
    "sandboxes-staged": AT_REST,
    "sandboxes-exhausted": AT_REST,
    "sandboxes-jobs": ("WORKERS=2", "STATS_EVERY_S=1", "SANDBOX_DURATION_S=40", "SANDBOX_GRACE_S=10"),
    "platform-writes": ("WORKERS=2",),
    "platform-writes-one": ("WORKERS=2",),
    "scheduler": ("WORKERS=2",),
    "scheduler-one": ("WORKERS=2",),
    "scheduler-calls": ("WORKERS=2",),
    "agents": ("WORKERS=2",),
}
# After Ctrl-C processes are stopped in order and a suite writes its report: nox must wait for that.
PATIENCE_S = 15.0
environments.settle_home(os.environ, say=lambda text: sys.stderr.write(f"nox > {text}\n"))
signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nox itself would die and leave its child
ONLY_SETTINGS_READS = 'lint.flake8-tidy-imports.banned-api."os.{}".msg="only settings.py reads the environment"'


def python(session: nox.Session, group: str, *arguments: str, env: dict[str, str] | None = None) -> None:
    """Run the Python of a group's environment with these arguments."""
    run(session, environments.ensure(group, say=session.log), *arguments, env=env)


def run(
    session: nox.Session, program: Path, *arguments: str, env: dict[str, str] | None = None, good: Iterable[int] = (0,)
) -> None:
    """Run a program of one of our environments. good: the exit codes that fail nothing."""
    # Where nox alone was interrupted it has to pass that on; only the launcher takes SIGTERM after SIGINT calmly.
    first_s = 0.3 if arguments[:2] == ("-m", "harness") else PATIENCE_S
    then_s = PATIENCE_S
    try:
        session.run(
            str(program),
            *arguments,
            env=env,
            external=True,
            success_codes=good,
            stderr=sys.stderr,  # nox would merge it into stdout, which belongs to the one JSON line of `up`
            interrupt_timeout=first_s,
            terminate_timeout=then_s,
        )
    except CommandFailed as failed:
        exit_codes.NOTED.append(exit_codes.INCONCLUSIVE if failed.return_code is None else failed.return_code)
        raise


def artifacts() -> Path:
    """Where the suites put what they found."""
    return Path(os.environ.get("NEXMDM_ARTIFACTS") or "artifacts")


@contextlib.contextmanager
def reported(session: nox.Session, suite: str) -> Iterator[None]:
    """Draw report.html of what the suite has left, whatever its verdict. A page that cannot be drawn fails nothing."""
    result = artifacts() / suite / "result.json"
    before = result.stat().st_mtime_ns if result.exists() else 0
    try:
        yield
    finally:
        if result.exists() and result.stat().st_mtime_ns != before:
            harness = environments.ensure("harness", say=session.log)
            run(session, harness, "-m", "report", str(result.parent), good=(0, 1, 2))


def scenario(session: nox.Session, name: str, *arguments: str, command: str | None = None) -> None:
    """Run a load scenario against the deployment that is given, else against a stack of its own.

    command: of another backend than this tree's.
    """
    load = environments.ensure("load", say=session.log)
    given = os.environ.get("NEXMDM_BASE_URL")
    settings = settings_of(name)
    if name == "sandboxes-staged" and not (given or os.environ.get("DATABASE_URL")):
        settings += [f"--postgres={setting}" for setting in LARGE_POOL]
    inner = [*settings, "--", str(load), "-m", "load", name, *arguments]
    env = backend_env(session) if command is None else {"NEXMDM_BACKEND_COMMAND": command}
    began = time.time()
    with reported(session, name):
        try:
            run(session, load, "-m", "harness", "run", *inner, env=env)
        except CommandFailed as failed:
            quick = arguments in quick_look.SCENARIOS and failed.return_code == exit_codes.INCONCLUSIVE
            if not (quick and quick_look.holds_so_far(artifacts() / name, began)):
                raise
            exit_codes.NOTED.pop()
            session.log(f"what a quick look can tell holds; `nox -s {name}` has the samples for the rest")


def demonstration(session: nox.Session, service: str) -> None:
    """Run the demonstration of a service, with `--break` against a mutant of its folder; without a name list these."""
    options = argparse.ArgumentParser(prog=f"nox -s {service} --", add_help=False, allow_abbrev=False)
    options.add_argument("--break", dest="mutant", nargs="?", const="", metavar="NAME")
    given, others = options.parse_known_args(session.posargs)
    if given.mutant is None:
        scenario(session, service, *others)
        return
    env = backend_env(session)
    with tempfile.TemporaryDirectory() as folder:
        named = [given.mutant] if given.mutant else []
        python(session, "acceptance", "-m", "mutants.single", "--of", service, folder, *named, env=env)
        if named:
            told = json.loads(Path(folder, "mutant.json").read_text(encoding="utf-8"))
            scenario(session, service, *others, "--broken", told["broken"], command=told["command"])


def backend_env(session: nox.Session) -> dict[str, str]:
    """Where the backend's command is; with a given deployment none is needed."""
    if os.environ.get("NEXMDM_BASE_URL"):
        return {}
    return {"NEXMDM_BACKEND_COMMAND": str(environments.ensure_backend(say=session.log))}


def settings_of(suite: str) -> list[str]:
    """What `harness run` is told of the stack that it starts; nothing where one is given."""
    return [] if os.environ.get("NEXMDM_BASE_URL") else [f"--set=NEXMDM_{one}" for one in SETTINGS.get(suite, ())]


def baseline_of(session: nox.Session) -> list[str]:
    """What bench is told of the revision that `--against` names: its commit, and the command of its backend."""
    options = argparse.ArgumentParser(prog="nox -s bench --", add_help=False, allow_abbrev=False)
    options.add_argument("--against", metavar="REV")
    revision = options.parse_known_args(session.posargs)[0].against
    if revision is None:
        return []
    try:
        commit, command = environments.ensure_revision(revision, say=session.log)
    except environments.RevisionError as error:
        sys.stderr.write(f"bench: --against: {error}\n")
        raise SystemExit(2) from None  # nox would make it a 1
    return ["--against", commit, "--baseline", str(command)]


@contextlib.contextmanager
def within_budget(session: nox.Session, suite: str) -> Iterator[None]:
    """Hold a plain run of a suite to its time. One that was told what to run has no budget."""
    if session.posargs or os.environ.get("NEXMDM_BASE_URL"):
        yield
        return
    try:
        with budgets.within(suite, artifacts(), fail=IN_CI, say=session.log):
            yield
    except budgets.OverBudgetError as error:
        exit_codes.NOTED.append(exit_codes.FAILED)
        session.error(str(error))


def names_a_path(session: nox.Session) -> bool:
    """Whether the arguments say where the tests are."""
    return any(Path(argument.partition("::")[0]).exists() for argument in session.posargs)


def pytest(session: nox.Session, report: str, *default: str, slow: bool = False) -> list[str]:
    """`-m pytest` with a report, the given arguments, and the default paths unless a path was given.

    What is marked slow runs with slow=True, and where the arguments select: a path, -k, -m, --case.
    In CI a skipped test is a failure (ci/no_skips.py).
    """
    folder = artifacts() / (f"{report}-slow" if slow else report)
    named = names_a_path(session)
    selects = named or any(argument.startswith(SELECTING) for argument in session.posargs)
    marks = ["-m", "slow"] if slow else [] if selects else ["-m", "not slow"]
    options = [f"--junitxml={folder / 'junit.xml'}", "--durations=10", *(["-p", "ci.no_skips"] if IN_CI else [])]
    return ["-m", "pytest", *options, *marks, *(() if named else default), *session.posargs]


def together(
    session: nox.Session, at_once: int, commands: Iterable[Sequence[str]], env: dict[str, str] | None = None
) -> None:
    """Run commands side by side, at most so many at a time."""
    joined = [word for command in commands for word in (side_by_side.BETWEEN, *command)][1:]
    python(session, "harness", "-m", "ci.side_by_side", str(at_once), *joined, env=env)


def refuse_arguments(session: nox.Session) -> None:
    """For a session of several: no argument means the same to all of them."""
    if session.posargs:
        exit_codes.NOTED.append(exit_codes.INCONCLUSIVE)
        session.error(f"takes no arguments; `nox -s NAME -- {' '.join(session.posargs)}` gives them to one session")


@nox.session
def tests(session: nox.Session) -> None:
    """All that must be green before a push: the sessions below, the simulation at 30 s."""
    refuse_arguments(session)
    for name in ("lint", "spec", "harness", "backend", "contract", "acceptance", "coverage"):
        session.notify(name, posargs=[])
    session.notify("sim20", posargs=quick_look.SIM)


@nox.session
def full(session: nox.Session) -> None:
    """What `tests` leaves out, or `-- --part K/5` of it. After `tests`: the coverage gate reads what both have left."""
    for name, arguments in parts.chosen(session.posargs).items():
        session.notify(name, posargs=arguments)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests and cases marked slow, and those of the platform on S3."""
    refuse_arguments(session)
    for name in ("harness-slow", "backend-slow", "acceptance-slow", "acceptance-s3"):
        session.notify(name, posargs=[])


@nox.session(name="harness-slow")
def harness_slow(session: nox.Session) -> None:
    """The tests of the harness that are marked slow."""
    run_helpers(session, slow=True)


@nox.session(name="backend-slow")
def backend_slow(session: nox.Session) -> None:
    """The backend's own tests that are marked slow."""
    run_backend(session, slow=True)


@nox.session(name="acceptance-slow")
def acceptance_slow(session: nox.Session) -> None:
    """The cases that are marked slow, then the coverage gate over these and the last run of `tests`."""
    run_acceptance(session, slow=True)
    run_coverage(session, "--slow", *(["--selected"] if session.posargs else []))


@nox.session(name="acceptance-s3")
def acceptance_s3(session: nox.Session) -> None:
    """The cases of the platform with the objects of each zone in a bucket of moto's S3 server."""
    run_acceptance(session, on_s3=True)


@nox.session
def sim20(session: nox.Session) -> None:
    """The 20-device simulation (2 minutes)."""
    scenario(session, "sim20", *session.posargs)


@nox.session
def sandboxes(session: nox.Session) -> None:
    """The demonstration of the broker (90 s); `-- --break NAME` runs it against a broken backend."""
    demonstration(session, "sandboxes")


@nox.session
def platform(session: nox.Session) -> None:
    """The demonstration of the platform (90 s); `-- --break NAME` runs it against a broken backend."""
    demonstration(session, "platform")


@nox.session
def fleet100(session: nox.Session) -> None:
    """100 devices that post every 120 s (10 minutes)."""
    scenario(session, "fleet100", *session.posargs)


@nox.session
def load(session: nox.Session) -> None:
    """Any scenario by its name; none, or --help, lists them."""
    if not session.posargs or session.posargs[0].startswith("-"):
        python(session, "load", "-m", "load", *(session.posargs or ["--help"]))
    else:
        scenario(session, *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The performance targets, measured on stacks of its own. Keep the machine quiet meanwhile."""
    baseline = baseline_of(session)
    load = environments.ensure("load", say=session.log)
    arguments = ["-m", "bench", "--load-python", str(load), *session.posargs, *baseline]
    with reported(session, "bench"):
        python(session, "acceptance", *arguments, env=backend_env(session))


@nox.session
def report(session: nox.Session) -> None:
    """report.html of every suite that has run."""
    folders = session.posargs or sorted(str(result.parent) for result in artifacts().glob("*/result.json"))
    python(session, "harness", "-m", "report", *folders)


@nox.session
def browser(session: nox.Session) -> None:
    """The reports in Chromium, on a phone and a desk; screenshots go to artifacts/browser."""
    python(session, "browser", *pytest(session, "browser", "report/tests/browser"))


@nox.session
def acceptance(session: nox.Session) -> None:
    """The curated acceptance cases, on workers with a database each."""
    run_acceptance(session)


def run_acceptance(session: nox.Session, *, slow: bool = False, on_s3: bool = False) -> None:
    suite = "acceptance-slow" if slow else "acceptance-s3" if on_s3 else "acceptance"
    left_out = ("--ignore=acceptance/tests", "--ignore=acceptance/chaos")
    cases = ("acceptance/platform", "--on-s3") if on_s3 else ("acceptance", *left_out)
    arguments = pytest(session, "acceptance-s3" if on_s3 else "acceptance", *cases, slow=slow)
    # One more than there are CPUs: a good part of a case is waiting. A single case has no use for workers.
    workers = 0 if "--case" in session.posargs else (os.cpu_count() or 1) + 1
    options = ["-n", str(workers), "--suite", suite]
    executable, env = environments.ensure("acceptance", say=session.log), backend_env(session)
    if workers and env:
        options += ["--warm-starts", str(Path(env["NEXMDM_BACKEND_COMMAND"]).with_name("python"))]
    with reported(session, suite), within_budget(session, suite), scratch.in_memory(os.environ) as memory:
        run(session, executable, *arguments[:2], *options, *arguments[2:], env=env | memory)


@nox.session
def chaos(session: nox.Session) -> None:
    """Faults under load: each is done to a live system again and again, and no acknowledged write may be lost."""
    # One after the other, in order: each measures how long recovery takes. A case that this machine cannot run (a disk
    # to fill needs root) is disabled in result.json, and any other skip fails it: no_skips would know no difference.
    options = ["-q", "-p", "no:xdist", "-p", "no:randomly", "--suite", "chaos"]
    with reported(session, "chaos"):
        default = () if names_a_path(session) else ("acceptance/chaos",)
        arguments = ["-m", "pytest", *options, *default, *session.posargs]
        python(session, "acceptance", *arguments, env=backend_env(session))


@nox.session
def mutants(session: nox.Session) -> None:
    """The suites against broken backends, each of which its named case has to catch."""
    if {"--check", "--list"} & {*session.posargs}:
        python(session, "acceptance", "-m", "mutants", *session.posargs)
        return
    pythons = {group: environments.ensure(group, say=session.log) for group in ("acceptance", "contracts", "load")}
    inner = ["--", str(pythons["acceptance"]), "-m", "mutants", *(f"--python={n}={p}" for n, p in pythons.items())]
    env = backend_env(session)
    command = ["-m", "harness", "run", "--only", "postgres", *inner, *session.posargs]
    with reported(session, "mutants"), scratch.in_memory(os.environ) as memory:
        python(session, "acceptance", *command, env=env | memory)


@nox.session
def faults(session: nox.Session) -> None:
    """The old name of `mutants`, for one release."""
    session.error("`nox -s faults` is called `nox -s mutants` now; it takes the same arguments")


@nox.session
def contract(session: nox.Session) -> None:
    """Fuzz every operation of openapi.yaml, compare the code with it, gate on coverage."""
    contracts = environments.ensure("contracts", say=session.log)
    inner = ["--", str(contracts), "-m", "contracts", *session.posargs]
    env = backend_env(session)
    with reported(session, "contract"), within_budget(session, "contract"), scratch.in_memory(os.environ) as memory:
        run(session, contracts, "-m", "harness", "run", *settings_of("contract"), *inner, env=env | memory)


@nox.session
def coverage(session: nox.Session) -> None:
    """The coverage gate, over what the last runs of acceptance and contract have seen."""
    run_coverage(session, *session.posargs)


def run_coverage(session: nox.Session, *arguments: str) -> None:
    with reported(session, "coverage"):
        python(session, "contracts", "-m", "ci.coverage", *arguments)


@nox.session
def spec(session: nox.Session) -> None:
    """Lint openapi.yaml."""
    python(session, "contracts", "-m", "contracts", "--only", "lint", *session.posargs)


@nox.session
def backend(session: nox.Session) -> None:
    """The backend's own tests, beside a PostgreSQL of their own."""
    run_backend(session)


def run_backend(session: nox.Session, *, slow: bool = False) -> None:
    tester = environments.ensure_backend_tests(say=session.log)
    launcher = environments.ensure("harness", say=session.log)
    arguments = pytest(session, "backend", "backend/tests", slow=slow)
    workers = 0 if session.posargs else os.cpu_count() or 1  # a few tests are over before the workers have begun
    inner = ["--", str(tester), *arguments[:2], "-n", str(workers), *arguments[2:]]
    command = ["-m", "harness", "run", "--only", "postgres", *inner]
    with within_budget(session, "backend-slow" if slow else "backend"), scratch.in_memory(os.environ) as memory:
        run(session, launcher, *command, env={"PYTHONPATH": str(ROOT)} | memory)


@nox.session
def harness(session: nox.Session) -> None:
    """The tests of the harness and of the suites' own helpers."""
    run_helpers(session)


def run_helpers(session: nox.Session, *, slow: bool = False) -> None:
    # Some tests run the real commands, without the settings by which a user reaches a registry: nothing is to be made.
    for group in ("lint", "harness", "acceptance", "contracts", "load"):
        environments.ensure(group, say=session.log)
    environments.ensure_backend(say=session.log)
    own = environments.ensure("harness-tests", say=session.log)
    run_own = [str(own), *pytest(session, "harness", "-n", "2", *OWN_TESTS, slow=slow)]
    if session.posargs:
        run(session, own, *run_own[1:], env=backend_env(session))
        return
    commands = [run_own]
    for group, suite in SLOW_HELPERS if slow else HELPERS:
        helper = environments.ensure(group, say=session.log)
        commands.append([str(helper), *pytest(session, f"harness-{suite}", f"{suite}/tests", slow=slow)])
    at_once = 1 if slow else 3  # what measures time is slow, and has the machine to itself
    env = backend_env(session)
    with within_budget(session, "harness-slow" if slow else "harness"), scratch.in_memory(os.environ) as memory:
        together(session, at_once, commands, env=env | memory)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, mypy --strict over everything, the import rules, shellcheck."""
    executable = environments.ensure("lint", say=session.log)
    tools = executable.parent
    fix = "--fix" in session.posargs
    run(session, tools / "ruff", "check", *(["--fix"] if fix else []), ".")
    run(session, tools / "ruff", "format", *([] if fix else ["--check"]), ".")
    bans = [f"--config={ONLY_SETTINGS_READS.format(name)}" for name in ("environ", "getenv")]
    only_bans = ["--isolated", "--select=TID251", *bans, "--exclude=settings.py"]
    run(session, tools / "ruff", "check", *only_bans, "backend/src")
    run(session, tools / "lint-imports", env={"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'backend' / 'src'}"})
    run(session, tools / "shellcheck", ".ci/run")
    run(session, tools / "pre-commit", "validate-config")
    run(session, executable, "-m", "ci.cases", *([] if fix else ["--check"]))
    python(session, "acceptance", "-m", "mutants", "--check")
    noop = "bench/noop.py"  # runs beside the backend, in its environment
    # Each part is checked against the very versions that it runs with.
    checked = (
        (environments.ensure("acceptance", say=session.log), "acceptance", "mutants", "bench", "--exclude", noop),
        (environments.ensure_backend_tests(say=session.log), "backend/src", "backend/tests", noop),
        (environments.ensure("harness-tests", say=session.log), "harness", "ci"),
        (environments.ensure("load", say=session.log), "load"),
        (environments.ensure("contracts", say=session.log), "contracts"),
        (environments.ensure("browser", say=session.log), "report"),
        (executable, "noxfile.py"),
    )
    mypy = [
        [str(tools / "mypy"), f"--cache-dir=.mypy_cache/{of.parents[1].name}", f"--python-executable={of}", *paths]
        for of, *paths in checked
    ]
    together(session, 2, mypy)


@nox.session
def up(session: nox.Session) -> None:
    """A whole stack until Ctrl-C; one JSON line says where it is."""
    python(session, "harness", "-m", "harness", "up", *session.posargs, env=backend_env(session))


@nox.session
def pool(session: nox.Session) -> None:
    """Seed the pool of the deployment at DATABASE_URL, remove what was seeded, verify what a run has left."""
    with reported(session, "pool"):
        python(session, "harness", "-m", "harness.sandboxes", *session.posargs)


@nox.session
def dist(session: nox.Session) -> None:
    """The wheel and the source archive, reproducibly, with sums and a bill of materials: artifacts/dist."""
    builder = environments.ensure("build", say=session.log)
    cyclonedx = environments.ensure("supply", say=session.log).with_name("cyclonedx-py")
    tested = environments.ensure_wheel(say=session.log)
    with reported(session, "dist"):
        arguments = (f"--builder={builder}", f"--cyclonedx={cyclonedx}", f"--tested={tested}")
        python(session, "harness", "-m", "ci.dist", *arguments, *session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """Ask a database of vulnerabilities about every lock, or about the requirements files that are named."""
    program = environments.ensure("supply", say=session.log).with_name("pip-audit")
    with reported(session, "audit"):
        python(session, "harness", "-m", "ci.audit", f"--pip-audit={program}", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Resolve every lock anew; `-- --upgrade` takes the newest versions, `-- --upgrade-package NAME` that of one."""
    environments.lock(session.posargs, say=session.log)


def main() -> int:
    """Nox with the command line of this process; the exit code is that of ci/exit_codes.py."""
    sys.argv[1:1] = ["--noxfile", __file__]
    try:
        nox.main()
    except SystemExit as ended:
        if isinstance(ended.code, str):  # an environment that could not be made
            sys.stderr.write(f"{ended.code}\n")
            return exit_codes.INCONCLUSIVE
        return exit_codes.worst(int(ended.code or 0), exit_codes.NOTED)
    return exit_codes.PASSED  # --help, --version


if __name__ == "__main__":
    sys.exit(main())
