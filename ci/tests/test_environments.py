"""An environment is made when it is missing, when its lock changed, and when the last attempt failed; else never.

It installs nothing: the commands are recorded, and do what little the next step looks at.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ci import environments


class Commands:
    """Stands for uv: remembers what was run, makes the files that count."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.broken = False

    def __call__(self, command: Sequence[str]) -> None:
        self.ran.append(" ".join(command[1:3]))
        if self.broken:
            raise SystemExit("uv pip ended with exit code 1")
        if command[1] == "venv":
            (Path(command[-1]) / "bin").mkdir(parents=True, exist_ok=True)
            (Path(command[-1]) / "bin" / "python").touch()
        elif command[1] == "build":
            folder = Path(command[command.index("--out-dir") + 1])
            folder.mkdir(parents=True)
            (folder / "nexmdm_backend-1-py3-none-any.whl").touch()

    def take(self) -> list[str]:
        ran, self.ran = self.ran, []
        return ran


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    recorded = Commands()
    for name, path in {
        "ROOT": tmp_path,
        "ENVIRONMENTS": tmp_path / ".nox",
        "LOCKS": tmp_path / "locks",
        "BACKEND": tmp_path / "backend",
        "BACKEND_LOCK": tmp_path / "backend" / "requirements.lock",
    }.items():
        monkeypatch.setattr(environments, name, path)
    monkeypatch.setattr(environments, "_run", recorded)
    monkeypatch.setattr(environments, "_uv", lambda: "uv")
    (tmp_path / "locks").mkdir()
    (tmp_path / "backend" / "src" / "nexmdm").mkdir(parents=True)
    (tmp_path / "locks" / "load.txt").write_text("locust==1\n")
    (tmp_path / "backend" / "requirements.lock").write_text("fastapi==1\n")
    (tmp_path / "backend" / "src" / "nexmdm" / "app.py").write_text("one\n")
    return recorded


def test_made_once_and_again_when_the_lock_changes(commands: Commands, tmp_path: Path) -> None:
    executable = environments.ensure("load", say=lambda _: None)
    assert executable == tmp_path / ".nox" / "load" / "bin" / "python"
    assert commands.take() == ["venv --quiet", "pip install"]
    assert environments.ensure("load", say=lambda _: None) == executable
    assert commands.take() == []
    (tmp_path / "locks" / "load.txt").write_text("locust==2\n")
    environments.ensure("load", say=lambda _: None)
    assert commands.take() == ["venv --quiet", "pip install"]


def test_a_failed_attempt_is_not_taken_for_an_environment(commands: Commands) -> None:
    environments.ensure("load", say=lambda _: None)
    (environments.LOCKS / "load.txt").write_text("locust==2\n")
    commands.broken = True
    with pytest.raises(SystemExit):
        environments.ensure("load", say=lambda _: None)
    commands.broken = False
    commands.take()
    environments.ensure("load", say=lambda _: None)
    assert commands.take() == ["venv --quiet", "pip install"]


def test_the_wheel_follows_the_sources(commands: Commands, tmp_path: Path) -> None:
    assert environments.ensure_backend(say=lambda _: None).name == "nexmdm"
    assert commands.take() == ["build --quiet", "venv --quiet", "pip install", "pip install"]
    environments.ensure_backend(say=lambda _: None)
    assert commands.take() == []
    (tmp_path / "backend" / "src" / "nexmdm" / "app.py").write_text("two\n")
    environments.ensure_backend(say=lambda _: None)
    assert commands.take() == ["build --quiet", "pip install"]
    assert len(list((tmp_path / ".nox" / "wheels").iterdir())) == 1
    (tmp_path / "backend" / "requirements.lock").write_text("fastapi==2\n")
    environments.ensure_backend(say=lambda _: None)
    assert commands.take()[:2] == ["venv --quiet", "pip install"]


def test_a_command_that_fails_says_which() -> None:
    with pytest.raises(SystemExit, match=r"^python.* -c ended with exit code 3$"):
        environments._run([sys.executable, "-c", "raise SystemExit(3)"])


@pytest.fixture
def repository(commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A history of three commits: `bare` has no lock, `first` and `docs` have the same backend."""
    monkeypatch.setattr(environments, "_run", lambda command: (git if command[0] == "git" else commands)(command))

    def git(command: Sequence[str]) -> None:
        subprocess.run([*command], cwd=tmp_path, check=True, capture_output=True)

    def commit(tag: str) -> None:
        git(["git", "add", "backend", "locks", "README.md"])
        git(["git", "-c", "user.name=n", "-c", "user.email=n@localhost", "commit", "--quiet", "-m", tag])
        git(["git", "tag", tag])

    lock = tmp_path / "backend" / "requirements.lock"
    git(["git", "init", "--quiet"])
    (tmp_path / "README.md").write_text("one\n")
    (tmp_path / "locks" / "build.txt").write_text("hatchling==1\n")
    kept = lock.read_text()
    lock.unlink()
    commit("bare")
    lock.write_text(kept)
    commit("first")
    (tmp_path / "README.md").write_text("two\n")
    commit("docs")
    (tmp_path / "backend" / "src" / "nexmdm" / "app.py").write_text("of today, not committed\n")
    return tmp_path


def test_a_revision_is_built_from_its_own_sources_once_for_all_that_are_equal(
    commands: Commands, repository: Path
) -> None:
    commit, command = environments.ensure_revision("first", say=lambda _: None)
    assert commands.take() == ["build --quiet", "venv --quiet", "pip install", "pip install"]
    source = command.parents[2] / "source"
    assert (len(commit), command.name) == (40, "nexmdm")
    assert (source / "backend" / "src" / "nexmdm" / "app.py").read_text() == "one\n"
    assert (source / "backend" / "requirements.lock").read_text() == "fastapi==1\n"
    other, same = environments.ensure_revision("docs", say=lambda _: None)
    assert (other != commit, same, commands.take()) == (True, command, [])
    assert environments.ensure_backend(say=lambda _: None) != command


@pytest.mark.parametrize(
    "revision, said",
    [
        ("nowhere", "^no such revision: nowhere$"),
        ("--help", "^no such revision: --help$"),
        ("", "^no such revision: $"),
        ("first:backend", "^no such revision: first:backend$"),
        ("bare", r"^bare \([0-9a-f]{12}\) has no backend/requirements\.lock$"),
    ],
)
def test_a_revision_that_cannot_be_built_is_one_line(
    commands: Commands, repository: Path, revision: str, said: str
) -> None:
    with pytest.raises(environments.RevisionError, match=said):
        environments.ensure_revision(revision, say=lambda _: None)
    assert commands.take() == []


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "checkout"
    monkeypatch.setattr(environments, "ROOT", folder)
    monkeypatch.setattr(environments, "ENVIRONMENTS", folder / ".nox")
    return folder


@pytest.mark.parametrize("home", [None, "", "/dev/null", "/nowhere/at/all"])
def test_who_has_no_home_to_write_to_gets_one(checkout: Path, home: str | None) -> None:
    environ = {} if home is None else {"HOME": home}
    said: list[str] = []
    environments.settle_home(environ, say=said.append)
    own = Path(environ["HOME"])
    assert own == checkout / ".nox" / "home"
    assert own.is_dir()
    assert said == [f"HOME: {f'{home} cannot be written to' if home else 'not set'}; .nox/home is used instead"]


@pytest.mark.usefixtures("checkout")
def test_a_home_that_can_be_written_to_is_left_alone(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "new" / "caches")}
    environments.settle_home(environ, say=pytest.fail)
    assert environ == {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "new" / "caches")}
    assert list(tmp_path.glob("*")) == [tmp_path / "new"]


@pytest.mark.usefixtures("checkout")
def test_a_folder_for_caches_that_cannot_be_written_to_is_forgotten(tmp_path: Path) -> None:
    environ, said = {"HOME": str(tmp_path), "XDG_CACHE_HOME": "/dev/null/caches"}, list[str]()
    environments.settle_home(environ, say=said.append)
    assert environ == {"HOME": str(tmp_path)}
    assert said == ["XDG_CACHE_HOME: /dev/null/caches cannot be written to; it is not used"]
