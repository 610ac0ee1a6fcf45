"""The runner tells a mutant that the named case kills from one another kills, that survives, or that proves nothing.

The suite here is a stand-in that reads what it shall say from the broken package; the processes are real.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mutants import __main__ as command
from mutants import runs
from mutants.mutant import Mutant
from mutants.runner import ANOTHER, KILLED, SURVIVED, VOID, Finding, Runner
from mutants.runs import Ask, Runs, Started
from mutants.suites import ENVIRONMENTS, NAMES, Run, groups

# What the stand-in of a suite does: each line of the package's `says` is a check, its status and its detail.
# As a worker it does that for each request.
SUITE = """#!{python}
import json, os, pathlib, sys
def status(word):
    if word != "mostly":
        return word
    try:
        open({once!r}, "x").close()
    except FileExistsError:
        return "fail"
    return "pass"
def run(arguments, env, output):
    says = pathlib.Path(env["NEXMDM_BACKEND_COMMAND"]).parent / "nexmdm" / "says"
    lines = [line.split(" ", 2) for line in says.read_text().splitlines()]
    if not lines:
        return output.write_text("nothing to say\\n")
    if lines[0] == ["hang"]:
        os.execvp("tail", ["tail", "-f", "/dev/null"])
    if lines[0] == ["die"]:
        os._exit(1)
    checks = [dict(id=name, status=status(word), detail=detail) for name, word, detail in lines]
    if "--case" in arguments:
        checks = [check for check in checks if check["id"] in [*arguments, "sweep"]]
    for suite in {suites}:
        folder = pathlib.Path(env["NEXMDM_ARTIFACTS"]) / suite
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(dict(checks=checks, limits=[])))
if "mutants.worker" in sys.argv:
    for line in sys.stdin:
        asked = json.loads(line)
        output = pathlib.Path(asked["output"])
        run(asked["arguments"], asked["env"], output)
        with open({log!r}, "a") as log:
            log.write(str(os.getpid()) + " " + " ".join(asked["arguments"]) + chr(10))
        output.with_name("over").touch()
else:
    run(sys.argv, os.environ, pathlib.Path("/dev/stdout"))
"""
SOUND = "a/001 pass -\nb/001 pass -\n"


@pytest.fixture
def hunter(tmp_path: Path) -> Runner:
    (tmp_path / "nexmdm").mkdir()
    (tmp_path / "nexmdm" / "says").write_text(SOUND)
    (tmp_path / "python").write_text(f"#!/bin/sh\necho {tmp_path}/nexmdm\n")
    script = SUITE.format(python=sys.executable, suites=NAMES, log=str(tmp_path / "log"), once=str(tmp_path / "once"))
    (tmp_path / "suite").write_text(script)
    for name in ("python", "suite"):
        (tmp_path / name).chmod(0o755)
    suites = dict.fromkeys(ENVIRONMENTS, str(tmp_path / "suite"))
    return Runner(Runs(str(tmp_path / "command"), suites, tmp_path / "output"), 2, whole=True)


def mutant(name: str, new: str, old: str = SOUND) -> Mutant:
    return Mutant(f"noun/{name}", "it breaks", "200", "a/001", "says", old, new)


def found(hunter: Runner, *mutants: Mutant) -> dict[str, Finding]:
    return {finding.mutant.id.removeprefix("noun/"): finding for finding in hunter.run(mutants)}


def test_each_verdict(hunter: Runner) -> None:
    findings = found(
        hunter,
        mutant("caught", "a/001 fail during call: AssertionError: 2 rows\nb/001 pass -\n"),
        mutant("caught elsewhere", "a/001 pass -\nb/001 fail during call: AssertionError: no line\n"),
        mutant("not caught", "a/001 pass -\nb/001 pass !\n"),
        mutant("no start", "a/001 fail during call: harness.stack.backend.BackendError: exit code 1\nb/001 pass -\n"),
        mutant("no fixture", "a/001 fail during setup: AssertionError: 500\nb/001 pass -\n"),
        mutant("no result", ""),
        mutant("not run", "b/001 pass -\n"),
        mutant("stale", "anything", old="no such text"),
    )
    assert {name: finding.verdict for name, finding in findings.items()} == {
        "caught": KILLED,
        "caught elsewhere": ANOTHER,
        "not caught": SURVIVED,
        "no start": VOID,
        "no fixture": VOID,
        "no result": VOID,
        "not run": VOID,
        "stale": VOID,
    }
    assert findings["caught"].said == "during call: AssertionError: 2 rows"
    assert findings["caught elsewhere"].by == ("b/001",), "the whole suite was asked"


def test_a_suite_that_measures_time_has_few_beside_it(hunter: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    asked: list[Ask] = []

    def start(ask: Ask, go: Callable[[Ask], Started] = hunter.runs.start) -> Started:
        asked.append(ask)
        running[ask.suite] += 1
        most[ask.suite] = max(most[ask.suite], running.total())
        return go(ask)

    def end(run: Started, go: Callable[[Started], Run] = hunter.runs.end) -> Run:
        running[run.ask.suite] -= 1
        return go(run)

    monkeypatch.setattr(hunter.runs, "start", start)
    monkeypatch.setattr(hunter.runs, "end", end)
    mutants = [
        replace(mutant(f"{suite}-{number}", "a/001 fail -\nb/001 fail -\n"), suite=suite, caught_by=check)
        for suite in ("acceptance", "chaos", "sim20")
        for number, check in enumerate(("a/001", "b/001") * 3)
    ]
    assert {finding.verdict for finding in Runner(hunter.runs, 6).run(mutants)} == {KILLED}
    assert most["acceptance"] > 2
    assert (most["chaos"], most["sim20"]) == (2, 1)
    assert [ask.checks for ask in asked if ask.suite == "chaos" and ask.mutant is None] == [("a/001",), ("b/001",)]


def test_what_is_let_through_once_of_several_times_survives(hunter: Runner, tmp_path: Path) -> None:
    repeated = Runner(hunter.runs, 2, repeat=3)
    findings = found(
        repeated,
        mutant("mostly caught", "a/001 mostly 2 rows\nb/001 pass -\n"),
        mutant("caught", "a/001 fail 2 rows\nb/001 pass -\n"),
    )
    assert findings["mostly caught"].verdict == SURVIVED
    assert findings["mostly caught"].said.startswith("survived in 1 of 3")
    assert (findings["caught"].verdict, findings["caught"].said) == (KILLED, "killed in 3 of 3: 2 rows")
    assert len((tmp_path / "log").read_text().splitlines()) == 3 + 2 * 3, "the control, too"


def test_a_control_that_is_red_once_of_several_times_proves_nothing(hunter: Runner, tmp_path: Path) -> None:
    (tmp_path / "nexmdm" / "says").write_text(flaky := "a/001 mostly -\nb/001 pass -\n")
    one = mutant("caught", "a/001 fail 2 rows\nb/001 pass -\n", old=flaky)
    assert found(Runner(hunter.runs, 2, repeat=2), one)["caught"].verdict == VOID


def test_the_control_says_how_far_it_is(hunter: Runner) -> None:
    said: list[str] = []
    one = mutant("caught", "a/001 fail 2 rows\nb/001 pass -\n")
    found(Runner(hunter.runs, 2, repeat=2, progress=said.append), one)
    assert [line[:6] for line in said] == ["1 of 2", "2 of 2"]


def test_stale_faults_alone_end_too(hunter: Runner) -> None:
    stale = [mutant(f"stale {number}", "anything", old="no such text") for number in range(3)]
    assert {finding.verdict for finding in found(hunter, *stale).values()} == {VOID}


def test_a_fault_s_own_words_are_kept(hunter: Runner, tmp_path: Path) -> None:
    found(hunter, mutant("quiet", ""))
    assert (tmp_path / "output" / "noun.quiet.txt").read_text() == "nothing to say\n"


def test_without_being_told_to_nobody_asks_the_whole_suite(hunter: Runner, tmp_path: Path) -> None:
    hunter = Runner(hunter.runs, 2)
    findings = found(
        hunter,
        mutant("caught elsewhere", "a/001 pass -\nb/001 fail during call: AssertionError: no line\n"),
        mutant("swept", "a/001 pass -\nsweep fail a secret\n"),
    )
    assert findings["caught elsewhere"].verdict == SURVIVED
    assert (findings["swept"].verdict, findings["swept"].by) == (ANOTHER, ("sweep",))


def test_a_check_that_is_red_on_the_sound_package_voids_its_own_mutants(hunter: Runner) -> None:
    unknown = replace(mutant("of another", ""), caught_by="c/001")
    findings = found(hunter, unknown, mutant("caught", "a/001 fail x\n"))
    assert {name: (finding.verdict, finding.said) for name, finding in findings.items()} == {
        "of another": (VOID, "control: c/001 is not green"),
        "caught": (KILLED, "x"),
    }


def test_a_worker_takes_run_after_run_and_then_another_takes_its_place(
    hunter: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_RUNS_OF_A_WORKER", 3)
    mutants = [mutant(f"{number}", "a/001 fail x\n") for number in range(5)]
    assert {finding.verdict for finding in found(Runner(hunter.runs, 1), *mutants).values()} == {KILLED}
    workers = [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert [workers.count(worker) for worker in dict.fromkeys(workers)] == [3, 3], "the control, and five mutants"


@pytest.mark.parametrize("how", ["hang", "die"])
def test_a_run_that_does_not_end_well_proves_nothing_and_ends_its_worker_alone(
    how: str, hunter: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_WITHIN_S", 2.0)
    findings = found(Runner(hunter.runs, 1), mutant("first", how), mutant("second", "a/001 fail x\n"))
    assert {name: finding.verdict for name, finding in findings.items()} == {"first": VOID, "second": KILLED}


def test_slow_cases_are_asked_alone_and_others_by_file(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(
        '@case("a/001", "x 200")\ndef test_it(): ...\n'
        '@case("a/002", slow="waits (for a while)")\ndef test_other(): ...\n'
    )
    (tmp_path / "test_b.py").write_text("".join(f'@case("b/{n:03}")\n' for n in range(11)))
    named = ["a/001", "a/002", *(f"b/{n:03}" for n in range(11)), "sweep"]
    ten = [f"b/{n:03}" for n in range(10)]
    assert groups(named, tmp_path) == ([["a/002"]], [["a/001"], ten, ["b/010"], ["sweep"]])


@pytest.mark.parametrize(
    "says,code",
    [
        ("a/001 fail during call: AssertionError\n", 0),
        ("a/001 pass !\n", 1),
        ("", 2),
    ],
    ids=["killed", "survived", "void"],
)
def test_the_exit_code(says: str, code: int, hunter: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXMDM_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("NEXMDM_BACKEND_COMMAND", str(tmp_path / "command"))
    monkeypatch.setattr(command, "read", lambda: [mutant("one", says)])
    assert command.main(["--python", f"acceptance={tmp_path / 'suite'}"]) == code
    document = json.loads((tmp_path / "artifacts" / "mutants" / "result.json").read_text())
    assert document["exit_code"] == code
    [entry] = json.loads((tmp_path / "artifacts" / "mutants" / "mutants.json").read_text())["mutants"]
    assert (entry["mutant"], entry["caught_by"], entry["old"]) == ("noun/one", "a/001", SOUND)


def test_a_red_control_proves_nothing(hunter: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXMDM_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("NEXMDM_BACKEND_COMMAND", str(tmp_path / "command"))
    (tmp_path / "nexmdm" / "says").write_text("a/001 fail during call: AssertionError\n")
    monkeypatch.setattr(command, "read", lambda: [mutant("one", "a/001 fail x\n")])
    assert command.main(["--python", f"acceptance={tmp_path / 'suite'}"]) == 2


def test_a_sample_is_the_same_for_the_same_seed(capsys: pytest.CaptureFixture[str]) -> None:
    def listed(*arguments: str) -> list[str]:
        assert command.main(["--list", "--sample", "5", *arguments]) == 0
        return [line.split()[0] for line in capsys.readouterr().out.splitlines()]

    assert listed("--seed", "a") == listed("--seed", "a")
    assert listed("--seed", "a") != listed("--seed", "b")
    assert len(listed("--seed", "a")) == 5


def test_an_unknown_fault_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--only", "no/such*"]) == 2
    assert "no mutant is called no/such*" in capsys.readouterr().err
