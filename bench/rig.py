"""What the rows share: one stack, a fleet in its database, further backends beside it, and the facts of the run.

It measures nothing. Everything starts when a row first asks for it, and ends with the rig.
"""

from __future__ import annotations

import contextlib
import re
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import psycopg

from bench.cpu import Meter
from bench.wrk import Wrk
from harness.devices.seeded_fleet import seed
from harness.http.client import Client, TransportError
from harness.http.prometheus import parse, total
from harness.processes.child import workspace
from harness.settings import HarnessError
from harness.stack.backend import Backend
from harness.stack.stack import Stack
from harness.verdict.console import Console
from harness.waiting import WaitTimeout

HEARTBEAT = "/v1/heartbeat"

Facts = dict[str, str | int | float | bool | None]


class Void(HarnessError):
    """A round that proves nothing. The message says why."""


class Disturbed(Void):
    """The generator was at fault, and no backend."""


class Refused(Void):
    """A backend answered what it must not answer."""


class Unsupported(Refused):
    """A backend does not know what it is asked for."""


def refused(what: str, status: int, body: bytes) -> Refused:
    """Of an answer that is not the expected one: a 4xx but 429 comes from no load."""
    kind = Unsupported if 400 <= status < 500 and status != 429 else Refused
    return kind(f"{what}: {status} {body[:200]!r}")


# What can break on the way to a figure, and says nothing about the others; that which no busy machine can cause.
TROUBLE: Final = (HarnessError, WaitTimeout, TransportError, psycopg.Error, OSError)
LASTING: Final = (Unsupported, psycopg.ProgrammingError)


def reason(error: Exception) -> str:
    """One line: the first that the error has, and the last with words, where a log or a traceback names its cause."""
    first, *others = [line.strip(" │") for line in str(error).splitlines() if re.search(r"\w\w", line)] or [""]
    return f"{type(error).__name__}: {first[:200]}" + (f" ... {others[-1][:300]}" if others else "")


@dataclass(frozen=True)
class Plan:
    """How long things take: full, or --quick."""

    quick: bool = False
    rounds: int = 7
    round_s: int = 3
    devices: int = 60_000  # more than a round has beats: most become rows
    pgbench_devices: int = 250_000
    repeats: int = 3  # of what is judged by its slowest
    sim_duration_s: float = 120.0
    load_python: str | None = None
    artifacts: Path = field(default_factory=Path)


QUICK = Plan(quick=True, rounds=3, round_s=1, devices=9_000, pgbench_devices=50_000, repeats=1)


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median of the ratios of pairs that were measured one after the other. ValueError for unequal numbers."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def listed(values: Sequence[float]) -> str:
    """Raw figures for a fact."""
    return " ".join(f"{value:.4g}" for value in values)


# The default: as often as the suites look for deletions, they are 4 ms of PostgreSQL in each second.
_TIMES: Final = {"NEXMDM_PLATFORM_TEARDOWN_EVERY_S": "1"}


class Rig:
    """Use as a context manager."""

    def __init__(self, plan: Plan, command: str | None = None, name: str = "") -> None:
        """command: the `nexmdm` that is measured, default NEXMDM_BACKEND_COMMAND; name: told with each line."""
        self.plan = plan
        self.name = name
        self._command = command
        self.facts: Facts = {}
        self._parts = contextlib.ExitStack()
        self._console = Console(f"bench {name}".strip(), sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def say(self, text: str) -> None:
        """A line for people."""
        self._console.say(text)

    @cached_property
    def stack(self) -> Stack:
        """One web process, everything on."""
        return self._parts.enter_context(Stack.start(command=self._command, env=_TIMES))

    @cached_property
    def tokens(self) -> list[str]:
        """Of the devices that were put into the stack's database."""
        return [device.token for device in seed(self.stack.target.database_url or "", self.plan.devices)]

    @cached_property
    def wrk(self) -> Wrk:
        """The generator of full load, over all devices."""
        return Wrk(self.tokens)

    @property
    def admin(self) -> Client:
        return client(self.stack.target.base_url, self.stack.env)

    @property
    def pid(self) -> int | None:
        """Of the stack's backend; None before anything was started."""
        return self.stack.backend.pid if "stack" in self.__dict__ else None

    def postgres_pid(self) -> int | None:
        return self.stack.postgres.pid

    def another_stack(self, workers: int = 1) -> Stack:
        """A stack with a database of its own on the same PostgreSQL; the caller ends it."""
        return Stack.start(workers=workers, env=_TIMES, postgres=self.stack.postgres, command=self.stack.command)

    @contextlib.contextmanager
    def backend(
        self, command: str | None = None, env: Mapping[str, str] | None = None, *, database_url: str | None = None
    ) -> Iterator[Backend]:
        """A backend without background work beside that of the stack, on the same database unless told otherwise.

        command: another `nexmdm`; env: settings that replace the stack's.
        """
        settings = self.stack.env | dict(env or {})
        if database_url is not None:
            settings["NEXMDM_DATABASE_URL"] = database_url
        argv = [command or self.stack.command, "serve", "--no-background"]
        backend = Backend(argv, settings, workspace("beside") / "backend.log")
        try:
            yield backend.start().wait_ready()
        finally:
            backend.stop()

    def meter(self, **roots: int | None) -> Meter:
        """CPUs of PostgreSQL, of the generator, and of these process trees."""
        return Meter({"postgres": self.postgres_pid(), **roots})

    def execute(self, statement: str, *parameters: object, database_url: str | None = None) -> list[tuple[object, ...]]:
        """Run one statement as the database's owner. psycopg.Error."""
        url = database_url or self.stack.target.database_url or ""
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return list(cursor.fetchall()) if cursor.description else []


def client(base_url: str, env: Mapping[str, str]) -> Client:
    """A caller with the admin's credentials."""
    return Client(base_url, env["NEXMDM_ADMIN_KEY"], env["NEXMDM_HMAC_SECRET"])


@dataclass(frozen=True)
class Counted:
    """What a backend says of its heartbeats: by result, and by status of the answer."""

    ingested: float
    deduplicated: float
    answers: Mapping[str, float]

    def since(self, before: Counted) -> Counted:
        answers = {status: n - before.answers.get(status, 0.0) for status, n in self.answers.items()}
        return Counted(self.ingested - before.ingested, self.deduplicated - before.deduplicated, answers)

    @property
    def share_ingested(self) -> float:
        """Of the acknowledged heartbeats, those that became a row; the others were duplicates in their ten seconds."""
        return self.ingested / max(self.ingested + self.deduplicated, 1.0)

    @property
    def not_200(self) -> dict[str, float]:
        """Without 0, a caller that hung up before the answer, as wrk does with what is open when its time is over."""
        return {status: n for status, n in self.answers.items() if status not in ("0", "200") and n}


def counted(admin: Client) -> Counted:
    """Read /metrics. Void when it does not answer."""
    answer = admin.admin("GET", "/metrics")
    if answer.status != 200:
        raise Void(f"GET /metrics: {answer.status}")
    return parse_counted(answer.body.decode())


def parse_counted(page: str) -> Counted:
    """The heartbeats of a page of /metrics."""
    samples = parse(page)
    ingested, deduplicated = (
        total(samples, f'nexmdm_heartbeats_total{{result="{result}"}}') for result in ("ingested", "deduplicated")
    )
    answers: dict[str, float] = {}
    for (name, labels), value in samples.items():
        if name == "nexmdm_http_requests_total" and ("route", HEARTBEAT) in labels:
            status = dict(labels)["status"]
            answers[status] = answers.get(status, 0.0) + value
    return Counted(ingested, deduplicated, answers)
