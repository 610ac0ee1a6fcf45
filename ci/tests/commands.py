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


def run(artifacts: Path, given: Mapping[str, str], session: str, *arguments: str, within_s: float = 300.0) -> Done:
    command = [python_with_nox(), "noxfile.py", "-s", session, *(["--", *arguments] if arguments else [])]
    env = environment(artifacts, given)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=within_s, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return Done(done.returncode, [line for line in lines if line and not line.startswith("nox > ")])
