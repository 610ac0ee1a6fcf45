"""The runner tells a mutant that the named case kills from one another kills, that survives, or that proves nothing.

The suite here is a stand-in that reads what it shall say from the broken package; the processes are real.
"""

import json
import sys
from pathlib import Path

import pytest

from mutants import __main__ as command
from mutants import runner
from mutants.mutant import Mutant
from mutants.runner import ANOTHER, KILLED, SURVIVED, VOID, Finding, Runner
from mutants.suites import NAMES

# What the stand-in of a suite does: each line of the package's `says` is a check, its status and its detail.
SUITE = """#!{python}
import json, os, pathlib, sys
says = pathlib.Path(os.environ["NEXMDM_BACKEND_COMMAND"]).parent / "nexmdm" / "says"
lines = [line.split(" ", 2) for line in says.read_text().splitlines()]
if not lines:
    sys.exit("nothing to say")
checks = [dict(id=name, status=status, detail=detail) for name, status, detail in lines]
if "--case" in sys.argv:
    checks = [check for check in checks if check["id"] in sys.argv]
for suite in {suites}:
    folder = pathlib.Path(os.environ["NEXMDM_ARTIFACTS"]) / suite
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(dict(checks=checks, limits=[])))
"""
SOUND = "a/001 pass -\nb/001 pass -\n"


@pytest.fixture
def hunter(tmp_path: Path) -> Runner:
    (tmp_path / "nexmdm").mkdir()
    (tmp_path / "nexmdm" / "says").write_text(SOUND)
    (tmp_path / "python").write_text(f"#!/bin/sh\necho {tmp_path}/nexmdm\n")
    (tmp_path / "suite").write_text(SUITE.format(python=sys.executable, suites=NAMES))
    for name in ("python", "suite"):
        (tmp_path / name).chmod(0o755)
    return Runner(str(tmp_path / "command"), dict.fromkeys(NAMES, str(tmp_path / "suite")), 2, tmp_path / "output")


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


def test_stale_faults_alone_end_too(hunter: Runner) -> None:
    stale = [mutant(f"stale {number}", "anything", old="no such text") for number in range(3)]
    assert {finding.verdict for finding in found(hunter, *stale).values()} == {VOID}


def test_a_fault_s_own_words_are_kept(hunter: Runner, tmp_path: Path) -> None:
    found(hunter, mutant("quiet", ""))
    assert (tmp_path / "output" / "noun.quiet.txt").read_text() == "nothing to say\n"


def test_the_control_is_the_sound_package(hunter: Runner) -> None:
    assert hunter.control([mutant("caught", "a/001 fail x\n")]) == {}
    unknown = Mutant("noun/x", "it breaks", "200", "c/001", "says", SOUND, "")
    green = mutant("caught", "a/001 fail x\n")
    assert hunter.control([unknown, green]) == {("acceptance", "c/001"): "is not green"}


def test_a_run_that_hangs_is_ended_and_proves_nothing(
    hunter: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "suite").write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    monkeypatch.setattr(runner, "_WITHIN_S", 0.3)
    assert found(hunter, mutant("hangs", "x"))["hangs"].verdict == VOID


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
