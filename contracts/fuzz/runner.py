"""Runs Schemathesis against the target, keeps its reports, counts what happened. What may fail is in schemathesis.toml.

It runs the command line in processes of its own: the hooks live there, and a crash is an exit code. They
run side by side, since one cannot use more than one core.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contracts.fuzz import scope
from contracts.fuzz.redact import scrub
from contracts.fuzz.tally import Tally
from harness.http import tls
from harness.http.openapi import OPENAPI
from harness.settings import SECRETS, Target, without_proxies
from harness.verdict.artifacts import ROOT

CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
# The phases that take one operation at a time, parted by tag so that no operation falls between; the stateful one.
_NOT: Final = ("--exclude-path", scope.ASKED_ELSEWHERE)
_EACH: Final = (*_NOT, "--phases", "examples,coverage,fuzzing")


def _tags(option: str, tags: Sequence[str]) -> list[str]:
    return [word for tag in tags for word in (f"--{option}-tag", tag)]


PARTS: Final[dict[str, tuple[str, ...]]] = {
    "fuzz-devices": (*_EACH, *_tags("include", ("enrolment", "device"))),
    "fuzz-sandboxes": (*_EACH, *_tags("include", scope.SANDBOXES)),
    "fuzz-zones": (*_EACH, *_tags("include", scope.ZONES)),
    "fuzz-agents": (*_EACH, *_tags("include", scope.AGENTS)),
    "fuzz-mounts": (*_EACH, *_tags("include", scope.MOUNTS)),
    "fuzz-admin": (*_EACH, *_tags("exclude", ("enrolment", "device", *scope.SANDBOXES, *scope.PLATFORM))),
    "stateful": (*_NOT, "--phases", "stateful"),
}
REPORTS: Final = {"ndjson": "ndjson", "json": "json", "junit": "junit.xml"}
POLL_S: Final = 1.0
GOODBYE_S: Final = 10.0


class FuzzerBroken(Exception):
    """Schemathesis could not run. One line."""


@dataclass
class Part:
    """One Schemathesis process and how far its events were read."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes]
    position: int = 0
    rest: bytes = b""

    def fresh(self) -> list[str]:
        """The event lines that were completed since the last call."""
        events = self.folder / f"{self.name}.ndjson"
        if not events.is_file():
            return []
        with events.open("rb") as source:
            source.seek(self.position)
            added = source.read()
        self.position += len(added)
        *whole, self.rest = (self.rest + added).split(b"\n")
        return [line.decode() for line in whole if line]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(GOODBYE_S)


def files(name: str) -> list[str]:
    """What a part leaves behind: its terminal output and its reports."""
    return [f"{name}.txt", *(f"{name}.{suffix}" for suffix in REPORTS.values())]


def run(
    target: Target, folder: Path, *, examples: int, seed: int, progress: Callable[[str], None]
) -> tuple[int, Tally]:
    """The worse exit code (0 clean, 1 findings) and the counts of all parts. FuzzerBroken: any other exit code."""
    chosen = parts_for(target)
    tally = Tally.of(scope.document(target), parts=len(chosen))
    with ExitStack() as stack:
        parts = [_start(name, options, target, folder, examples, seed, stack) for name, options in chosen.items()]
        _follow(parts, tally, progress)
    for part in parts:
        for name in files(part.name):
            if (folder / name).is_file():
                scrub(folder / name, SECRETS)
    for part in parts:
        if part.process.returncode not in (0, 1):
            tail = " ".join((folder / f"{part.name}.txt").read_text(encoding="utf-8").split())[-300:]
            raise FuzzerBroken(f"schemathesis ({part.name}) exited with {part.process.returncode}: {tail}")
    return max(part.process.returncode for part in parts), tally


def parts_for(target: Target) -> dict[str, tuple[str, ...]]:
    """The parts without what the target cannot be asked for."""
    left_out = scope.left_out(target)
    if not left_out:
        return dict(PARTS)
    by_tag = {"--include-tag", "--exclude-tag"}
    return {
        name: options if by_tag & set(options) else (*options, *_tags("exclude", left_out))
        for name, options in PARTS.items()
        if "--include-tag" not in options or not set(left_out) & set(options)
    }


def _start(
    name: str, options: Sequence[str], target: Target, folder: Path, examples: int, seed: int, stack: ExitStack
) -> Part:
    for file in files(name):
        (folder / file).unlink(missing_ok=True)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", str(OPENAPI)]
    command += ["--url", target.base_url, *options, "--seed", str(seed), "--no-color"]
    command += ["--max-examples", str(examples), f"--report={','.join(REPORTS)}"]
    command += [f"--report-{kind}-path={folder / f'{name}.{suffix}'}" for kind, suffix in REPORTS.items()]
    if (trusted := tls.authorities()) is not None:
        command += ["--tls-verify", trusted]
    # requests obeys every proxy and REQUESTS_CA_BUNDLE of the environment.
    environ = without_proxies(os.environ) | target.as_env()
    environ |= {"SCHEMATHESIS_HOOKS": "contracts.fuzz.hooks", "PYTHONPATH": str(ROOT)}
    output = stack.enter_context((folder / f"{name}.txt").open("w", encoding="utf-8"))
    process = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    part = Part(name, folder, process)
    stack.callback(part.stop)
    return part


def _follow(parts: list[Part], tally: Tally, progress: Callable[[str], None]) -> None:
    """Read events as they are written, until every process has ended."""
    begun = time.monotonic()
    running = True
    while running:
        running = _runs_on(parts)
        for part in parts:
            tally.read(part.fresh())
        took = time.monotonic() - begun
        progress(f"{tally.requests} requests, {len(set(tally.failures))} findings, {took:.0f} s")


def _runs_on(parts: list[Part]) -> bool:
    """Whether any process still runs, after waiting a moment for one that does."""
    for part in parts:
        if part.process.poll() is None:
            try:
                part.process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                return True
    return any(part.process.poll() is None for part in parts)
