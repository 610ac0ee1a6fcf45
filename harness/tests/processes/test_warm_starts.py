"""A process that a zygote forks is as one that was executed, but for the time that its imports take."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.processes import starters
from harness.processes.child import Child, bare_environment
from harness.processes.warm_starts import Zygote, ZygoteError, serve
from harness.waiting import eventually

PROGRAM = """#!{python}
import json, os, pathlib, sys
first = "slow_library" in sys.modules, "program" in sys.modules
import program
seen = dict(pid=os.getpid(), parent=os.getppid(), session=os.getsid(0), argv=sys.argv, env=dict(os.environ),
            warm=first, cwd=os.getcwd(), said=sys.stdin.read(), descriptors=len(os.listdir("/proc/self/fd")))
pathlib.Path(sys.argv[1]).write_text(json.dumps(seen))
print("out")
print("err", file=sys.stderr)
if sys.argv[2] == "wait":
    import signal
    signal.pause()
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture
def zygote(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Zygote]:
    """Parametrized indirectly: whether the program's own modules are imported, too."""
    library = tmp_path / "library"
    library.mkdir()
    (library / "slow_library.py").write_text("")
    (library / "program.py").write_text("import slow_library")
    (tmp_path / "command").write_text(PROGRAM.format(python=sys.executable))
    (tmp_path / "command").chmod(0o755)
    before = list(starters.STARTERS)
    paths = bare_environment({"PYTHONPATH": str(library)})
    one = Zygote(sys.executable, ["program"], [], paths, own=getattr(request, "param", False))
    serve({lambda argv: Path(argv[0]).name == "command": one})
    yield one
    starters.STARTERS[:] = before
    one.stop()


def child(folder: Path, how: str) -> Child:
    with (folder / "in").open("w+b") as given, (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        given.write(b"asked")
        given.seek(0)
        command = [str(folder / "command"), str(folder / "seen"), how]
        return Child(command, env={"ONLY": "this"}, cwd=folder, stdin=given, stdout=out, stderr=err)


def test_it_is_a_child_of_ours_as_it_was_asked_for(zygote: Zygote, tmp_path: Path) -> None:
    one = child(tmp_path, "3")
    assert one.wait(10.0) == 3
    seen = json.loads((tmp_path / "seen").read_text())
    assert (seen["pid"], seen["parent"], seen["session"]) == (one.pid, os.getpid(), one.pid)
    assert (seen["argv"][1:], seen["env"], seen["cwd"]) == (
        [str(tmp_path / "seen"), "3"],
        {"ONLY": "this"},
        str(tmp_path),
    )
    assert seen["warm"] == [True, False], "its libraries are imported, and nothing of its own"
    assert seen["said"] == "asked"
    assert seen["descriptors"] == 4, "the standard ones, and that of the listing"
    assert ((tmp_path / "out").read_text(), (tmp_path / "err").read_text()) == ("out\n", "err\n")
    assert one.reap() == 3


@pytest.mark.parametrize("zygote", [True], indirect=True)
def test_modules_of_its_own_are_imported_where_that_is_asked_for(zygote: Zygote, tmp_path: Path) -> None:
    assert child(tmp_path, "0").wait(10.0) == 0
    assert json.loads((tmp_path / "seen").read_text())["warm"] == [True, True]


def test_each_start_is_a_process_of_its_own_and_signals_reach_it(zygote: Zygote, tmp_path: Path) -> None:
    pids = set()
    for number in (signal.SIGTERM, signal.SIGKILL):
        (tmp_path / "seen").unlink(missing_ok=True)
        one = child(tmp_path, "wait")
        pids.add(one.pid)
        eventually((tmp_path / "seen").exists, 10.0)
        assert one.poll() is None
        assert one.stop(5.0, first=number) == -number
    assert len(pids) == 2


def test_other_commands_are_executed(zygote: Zygote) -> None:
    assert Child(["sh", "-c", "exit 4"], env=bare_environment({})).wait(10.0) == 4


def test_a_zygote_that_has_ended_is_named(zygote: Zygote, tmp_path: Path) -> None:
    zygote.stop()
    with pytest.raises((ZygoteError, OSError)):
        child(tmp_path, "0")
