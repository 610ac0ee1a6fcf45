"""A changed backend: a copy of the installed package, changed in place, and a command that runs it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from harness.processes.child import bare_environment, run_to_end
from harness.settings import HarnessError

COMMAND = "nexmdm-command"
_SCRIPT = """#!{python}
import sys

sys.path.insert(0, {folder!r})
sys.argv[0] = "nexmdm"
from nexmdm.cli import app

app()
"""


def installed(command: str) -> Path:
    """The folder of the package that this `nexmdm` command runs. HarnessError when it has none."""
    python = Path(command).with_name("python")
    code, said = run_to_end(
        [str(python), "-c", "import nexmdm; print(nexmdm.__path__[0])"], env=bare_environment({}), within_s=30.0
    )
    if code:
        raise HarnessError(f"{command} runs no nexmdm package: {said.strip()[-300:]}")
    return Path(said.strip())


def build(command: str, package: Path, change: Callable[[Path], None] | None, folder: Path) -> Path:
    """The command of a copy of `package` in `folder`, changed by `change` (None: an equal copy, the control)."""
    copy = folder / "nexmdm"
    # With the byte code of the unchanged modules: its stamps are those of the sources, which keep their times.
    shutil.copytree(package, copy)
    if change is not None:
        change(copy)
    script = folder / COMMAND
    script.write_text(_SCRIPT.format(python=Path(command).with_name("python"), folder=str(folder)), encoding="utf-8")
    script.chmod(0o755)
    return script
