"""What is shipped: a build that depends on place or time is seen, and a bill that is not the lock's.

A stand-in builds: what the real hatchling makes of the real backend is what `nox -s dist` shows.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ci import dist
from ci.environments import BACKEND_LOCK
from harness.verdict.thresholds import Status

BUILDER = """#!{python}
import os, pathlib, sys, time
target = pathlib.Path(sys.argv[sys.argv.index("-d") + 1])
target.mkdir(parents=True)
source = pathlib.Path("a.py")
(target / "x-1-py3-none-any.whl").write_text(source.read_text() + str({fact}))
(target / "x-1.tar.gz").write_text("always the same")
"""


def builder(folder: Path, fact: str) -> Path:
    """A stand-in for hatchling's Python whose wheel holds a fact of its surroundings."""
    program = folder / "builder"
    program.write_text(BUILDER.format(python=sys.executable, fact=fact))
    program.chmod(0o755)
    return program


def twice(folder: Path, fact: str) -> Status:
    source = folder / "project"
    source.mkdir()
    (source / "a.py").write_text("one = 1\n")
    program = builder(folder, fact)
    first = dist.build(program, source, folder / "work", dist._HERE)
    second = dist.build(program, source, folder / "work", dist._ELSEWHERE)
    return dist.same(dist.sums(first), dist.sums(second)).status


def test_a_build_of_the_sources_alone_is_reproducible(tmp_path: Path) -> None:
    assert twice(tmp_path, "'nothing else'") is Status.PASS


@pytest.mark.parametrize(
    "fact",
    [
        "os.getcwd()",
        "os.environ['TZ']",
        "time.timezone",
        "os.environ['LC_ALL']",
        "hash('x')",
        "os.umask(0)",
        "int(source.stat().st_mtime)",
        "oct(source.stat().st_mode)",
    ],
)
def test_a_build_that_depends_on_its_surroundings_is_not(tmp_path: Path, fact: str) -> None:
    assert twice(tmp_path, fact) is Status.FAIL


def test_a_build_without_its_two_archives_is_none() -> None:
    assert dist.same({}, {}).status is Status.FAIL
    assert dist.same({"a.whl": "1"}, {"a.whl": "1"}).status is Status.FAIL


def test_a_build_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"(?s)exit code 1: .*ZeroDivisionError"):
        twice(tmp_path, "1 / 0")


def test_another_wheel_than_the_tested_one_is_seen(tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    wheel.write_text("bytes")
    assert dist.tested(wheel, dist.sums(tmp_path)).status is Status.PASS
    assert dist.tested(wheel, {"a.whl": "0" * 64}).status is Status.FAIL
    assert dist.tested(wheel, {}).status is Status.FAIL


LOCK = f"""\
one==1.0 \\
    --hash=sha256:{"a" * 64} \\
    --hash=sha256:{"b" * 64}
two==2.0 ; sys_platform == 'win32' \\
    --hash=sha256:{"c" * 64}
    # via one
"""


def component(name: str, version: str, *digests: str) -> dict[str, object]:
    hashes = [{"alg": "SHA-256", "content": digest * 64} for digest in digests]
    return {"name": name, "version": version, "externalReferences": [{"hashes": hashes}]}


ONE, TWO = component("one", "1.0", "a", "b"), component("two", "2.0", "c")


@pytest.mark.parametrize(
    "components, wrong",
    [
        ([ONE, TWO], None),
        ([ONE], "two"),
        ([ONE, TWO, component("three", "3.0")], "three"),
        ([ONE, component("two", "2.1", "c")], "two"),
        ([component("one", "1.0", "a"), TWO], "one"),
    ],
)
def test_the_bill_is_the_lock(components: list[dict[str, object]], wrong: str | None) -> None:
    check = dist.complete({"components": components}, LOCK)
    assert check.status is (Status.FAIL if wrong else Status.PASS)
    assert wrong is None or check.detail == wrong


def test_an_empty_lock_proves_nothing() -> None:
    assert dist.complete({"components": []}, "# nothing\n").status is Status.FAIL


def test_every_pin_of_the_real_lock_has_sums() -> None:
    found = dist.locked(BACKEND_LOCK.read_text())
    assert len(found) > 50
    assert all(found.values())
