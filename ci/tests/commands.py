"""`python noxfile.py -s SESSION -- ARGUMENTS` as a user types it, in an environment without a target of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ci import environments
from ci.environments import ROOT

_OF_A_USER = ("NEXMDM_", "DATABASE_URL", "SSL_CERT_", "CI", "PYTEST_")


@dataclass(frozen=True)
class Done:
    """`said`: what the programs of the session wrote, without the lines of nox."""

    code: int
    said: list[str]


def python_with_nox() -> str:
    return str(environments.ensure("lint", say=print))


def environment(artifacts: Path, given: Mapping[str, str] | None = None) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(_OF_A_USER)}
    return own | {"NEXMDM_ARTIFACTS": str(artifacts)} | dict(given or {})


def run(artifacts: Path, given: Mapping[str, str], session: str, *arguments: str, within_s: float = 900.0) -> Done:
    """TimeoutExpired, after everything that was started is stopped."""
    command = [python_with_nox(), "noxfile.py", "-s", session, *(["--", *arguments] if arguments else [])]
    env = environment(artifacts, given)
    nox = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        stdout, stderr = nox.communicate(timeout=within_s)
    except BaseException:
        nox.terminate()  # killed, it would leave its children
        nox.communicate()
        raise
    lines = (stdout + stderr).splitlines()
    return Done(nox.returncode, [line for line in lines if line and not line.startswith("nox > ")])
