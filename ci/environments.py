"""Virtual environments from locks: made with uv, else with virtualenv and pip, and only when a lock changed.

It resolves nothing while a suite runs: every installed file is pinned and hashed in locks/.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from pathlib import Path

Say = Callable[[str], object]

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / ".nox"
LOCKS = ROOT / "locks"
BACKEND = ROOT / "backend"
BACKEND_LOCK = BACKEND / "requirements.lock"
BACKEND_TESTS_LOCK = LOCKS / "backend-tests.txt"
GROUPS = ("harness", "harness-tests", "acceptance", "contracts", "load", "browser", "lint", "build", "supply")
_BUILD_LOCK = "locks/build.txt"  # of a checkout, as are the next two
_RUNTIME_LOCK = "backend/requirements.lock"
_PACKAGED = ("backend", _BUILD_LOCK)  # what a revision's wheel and its environment are made of
_LOCK_OPTIONS = ("--universal", "--generate-hashes", "--no-emit-index-url", "--no-header", "--quiet")


class RevisionError(Exception):
    """There is no backend of that revision. Its text is one line."""


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Two runs in one checkout must not make the same environment at the same time."""
    ENVIRONMENTS.mkdir(exist_ok=True)
    with (ENVIRONMENTS / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def settle_home(environ: MutableMapping[str, str], *, say: Say) -> None:
    """Give who has no home that he can write to (none at all, read-only, somebody else's) one in .nox.

    uv, npm and pip keep their caches below it, and node fails without one.
    """
    if caches := environ.get("XDG_CACHE_HOME"):
        with contextlib.suppress(OSError):
            Path(caches).mkdir(parents=True, exist_ok=True)
        if not _writable(Path(caches)):
            say(f"XDG_CACHE_HOME: {caches} cannot be written to; it is not used")
            del environ["XDG_CACHE_HOME"]
    home = environ.get("HOME")
    if home and _writable(Path(home)):
        return
    own = ENVIRONMENTS / "home"
    own.mkdir(parents=True, exist_ok=True)
    environ["HOME"] = str(own)
    say(f"HOME: {f'{home} cannot be written to' if home else 'not set'}; {own.relative_to(ROOT)} is used instead")


def _writable(folder: Path) -> bool:
    """Whether the folder is there and takes a new file; what a read-only mount refuses, os.access does not know."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def ensure(group: str, *, say: Say) -> Path:
    """The Python of the environment for locks/<group>.txt, made when it is missing or its lock changed."""
    with _alone():
        return _ensure(ENVIRONMENTS / group, LOCKS / f"{group}.txt", say)


def ensure_backend(*, say: Say) -> Path:
    """The `nexmdm` command, installed from a wheel of backend/ as it is now."""
    with _alone():
        return _with_wheel(ENVIRONMENTS / "backend-runtime", BACKEND_LOCK, _own_wheel(say), say).with_name("nexmdm")


def ensure_revision(revision: str, *, say: Say) -> tuple[str, Path]:
    """The commit that `revision` names, and its `nexmdm` command: its sources, built and installed by its own locks.

    Revisions with equal backends and locks share one environment. RevisionError: it is unknown, or has no lock.
    """
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if not commit:
        raise RevisionError(f"no such revision: {revision}")
    contents = []
    for path in (*_PACKAGED, _RUNTIME_LOCK):
        if not (found := _git("rev-parse", "--verify", "--quiet", f"{commit}:{path}")):
            raise RevisionError(f"{revision} ({commit[:12]}) has no {path}")
        contents.append(found)
    folder = ENVIRONMENTS / "revisions" / "-".join(one[:12] for one in contents[:2])
    with _alone():
        source = _extracted(commit, folder / "source")
        wheel = _wheel(source, folder / "wheels", say)
        return commit, _with_wheel(folder / "runtime", source / _RUNTIME_LOCK, wheel, say).with_name("nexmdm")


def ensure_backend_tests(*, say: Say) -> Path:
    """The Python that runs the backend's own tests: the same wheel, the same pins, and the test tools."""
    with _alone():
        return _with_wheel(ENVIRONMENTS / "backend-tests", BACKEND_TESTS_LOCK, _own_wheel(say), say)


def ensure_wheel(*, say: Say) -> Path:
    """The wheel of backend/ as it is now, which every suite runs."""
    with _alone():
        return _own_wheel(say)


def lock(arguments: Sequence[str], *, say: Say) -> None:
    """Resolve every lock with uv."""
    uv = _uv()
    if uv is None:
        raise SystemExit('the locks are resolved with uv: install "nox[uv]"')
    compile_ = [uv, "pip", "compile", *_LOCK_OPTIONS, "--python-version", "3.11", *arguments]
    for group in GROUPS:
        say(f"locks/{group}.txt")
        _run([*compile_, "--group", f"pyproject.toml:{group}", "-o", f"locks/{group}.txt"], capture=True)
    say("backend/requirements.lock")
    _run([*compile_, "backend/pyproject.toml", "-o", "backend/requirements.lock"], capture=True)
    say("locks/backend-tests.txt")
    groups = ["--group", "backend/pyproject.toml:tests", "--group", "pyproject.toml:stubs"]
    tests = ["backend/pyproject.toml", *groups, "-c", "backend/requirements.lock"]
    _run([*compile_, *tests, "-o", "locks/backend-tests.txt"], capture=True)


def _ensure(folder: Path, lock_file: Path, say: Say) -> Path:
    executable = folder / "bin" / "python"
    wanted = _digest([lock_file], sys.version)
    stamp = folder / ".lock-digest"
    if executable.exists() and stamp.exists() and stamp.read_text() == wanted:
        return executable
    say(f"making {folder.relative_to(ROOT)} from {lock_file.relative_to(ROOT)}")
    stamp.unlink(missing_ok=True)
    if uv := _uv():
        _run([uv, "venv", "--quiet", "--clear", "--no-project", "--python", sys.executable, str(folder)])
        install = [*_uv_install(uv), "--python", str(executable)]
    else:
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "virtualenv", "--quiet", str(folder)])
        install = [str(executable), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*install, "--require-hashes", "-r", str(lock_file)])
    stamp.write_text(wanted)
    return executable


def _with_wheel(folder: Path, lock_file: Path, wheel: Path, say: Say) -> Path:
    executable = _ensure(folder, lock_file, say)
    stamp = folder / ".wheel-digest"
    wanted = wheel.parent.name
    if stamp.exists() and stamp.read_text() == wanted:
        return executable
    stamp.unlink(missing_ok=True)
    if uv := _uv():
        _run([*_uv_install(uv), "--python", str(executable), "--no-deps", "--reinstall", str(wheel)])
    else:
        pip = [str(executable), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--no-deps", "--force-reinstall", str(wheel)])
    stamp.write_text(wanted)
    return executable


def _extracted(commit: str, folder: Path) -> Path:
    """What the backend of a commit is made of, in a folder that is complete or absent."""
    if not folder.exists():
        part, archive = folder.with_name("part"), folder.with_name("source.zip")
        shutil.rmtree(part, ignore_errors=True)
        archive.parent.mkdir(parents=True, exist_ok=True)
        _run(["git", "archive", f"--output={archive}", commit, *_PACKAGED])
        shutil.unpack_archive(archive, part)
        archive.unlink()
        part.replace(folder)
    return folder


def _own_wheel(say: Say) -> Path:
    return _wheel(ROOT, ENVIRONMENTS / "wheels", say)


def _wheel(root: Path, wheels: Path, say: Say) -> Path:
    """The wheel of the backend in a checkout, built when a file that goes into it changed."""
    backend = root / "backend"
    sources = [backend / "pyproject.toml", backend / "README.md", root / _BUILD_LOCK]
    sources += (path for path in (backend / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    folder = wheels / _digest(sources)[:16]
    built = sorted(folder.glob("*.whl"))
    if not built:
        say("building the backend's wheel")
        shutil.rmtree(folder.parent, ignore_errors=True)
        if uv := _uv():
            pins = ["--build-constraints", str(root / _BUILD_LOCK), "--require-hashes"]
            _run([uv, "build", "--quiet", "--wheel", *pins, "--out-dir", str(folder), str(backend)])
        else:
            _run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(backend)])
        built = sorted(folder.glob("*.whl"))
    return built[0]


def _digest(files: Iterable[Path], *more: str) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes() if path.exists() else b""
        digest.update(f"{path.relative_to(ROOT)}\0{len(content)}\0".encode() + content)
    for text in more:
        digest.update(text.encode())
    return digest.hexdigest()


def _git(*arguments: str) -> str:
    """What git says; empty where it fails."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode else done.stdout.strip()


def _uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


def _uv_install(uv: str) -> list[str]:
    # As pip does: the suites start hundreds of interpreters, and not each user lets them write byte code.
    return [uv, "pip", "install", "--quiet", "--compile-bytecode"]


def _run(command: Sequence[str], *, capture: bool = False) -> None:
    done = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL if capture else sys.stderr)
    if done.returncode:
        raise SystemExit(f"{Path(command[0]).name} {command[1]} ended with exit code {done.returncode}")
