"""`python noxfile.py` ends with 0, 1, 2 or 130 as its sessions' programs do; `nox` with 1 for all but 0."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.environments import ROOT
from ci.exit_codes import worst
from ci.tests.commands import environment, python_with_nox, run
from harness.tests.conftest import Playground, new_playground
from harness.waiting import eventually


@pytest.mark.parametrize(
    "nox_code, noted, code",
    [
        (0, [], 0),
        (0, [2], 0),  # a code that its session was content with
        (1, [1], 1),
        (1, [2], 2),
        (1, [2, 1, 2], 1),
        (1, [], 2),  # a session that broke
        (1, [5], 2),  # pytest found no test
        (1, [-9], 2),
        (1, [143, 1], 1),
        (1, [130], 130),
        (3, [], 2),  # no such session
        (130, [1], 130),
    ],
)
def test_the_worst_code_of_all(nox_code: int, noted: list[int], code: int) -> None:
    assert worst(nox_code, noted) == code


@pytest.mark.slow
@pytest.mark.parametrize(
    "text, code, of_nox",
    [
        pytest.param("def test_it():\n    pass\n", 0, 0, id="pass"),
        pytest.param("def test_it():\n    assert not 'right'\n", 1, 1, id="fail"),
        pytest.param("", 2, 1, id="nothing to say"),
    ],
)
def test_the_shell_sees_what_the_program_said(tmp_path: Path, text: str, code: int, of_nox: int) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(text)
    assert run(tmp_path, {}, "harness", str(file)).code == code
    nox = [str(Path(python_with_nox()).with_name("nox")), "-s", "harness", "--", str(file)]
    assert (
        subprocess.run(nox, cwd=ROOT, env=environment(tmp_path), capture_output=True, check=False).returncode == of_nox
    )


@pytest.mark.slow
def test_an_unknown_session_and_one_that_is_wrongly_used_prove_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, {}, "no-such-session").code == 2
    assert run(tmp_path, {}, "contract", "--no-such-option").code == 2


@pytest.fixture
def playground() -> Iterator[Playground]:
    with new_playground() as made:
        yield made


@pytest.mark.slow
def test_a_stack_in_the_background_of_a_script_ends_by_sigterm(tmp_path: Path, playground: Playground) -> None:
    """A shell without a terminal has its background jobs ignore SIGINT; `up --help` says so."""
    up = f"{python_with_nox()} noxfile.py -s up -- --env-file {tmp_path}/stack.env"
    script = f"{up} >{tmp_path}/said 2>&1 & echo $!; wait $!; echo $?"
    env = environment(tmp_path, {"TMPDIR": str(playground.folder)})
    shell = subprocess.Popen(["sh", "-c", script], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    job = int(shell.stdout.readline())
    try:
        eventually((tmp_path / "stack.env").exists, 120, what="a stack")
        os.kill(job, signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            shell.wait(1)
        assert (tmp_path / "stack.env").exists()
    finally:
        os.kill(job, signal.SIGTERM)
    assert shell.stdout.readline() == "130\n", (tmp_path / "said").read_text()
    shell.communicate(timeout=30)
    assert not (tmp_path / "stack.env").exists()
    eventually(playground.is_clean, 5)
