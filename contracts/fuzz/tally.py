"""What the fuzzer sent and got, from Schemathesis' NDJSON events: operation x answer, and how valid requests fared.

It judges nothing. Requests with a method that the path does not document are counted apart.
"""

from __future__ import annotations

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from harness.http.answers import RESULT, UNREADABLE, outcomes
from harness.http.openapi import Document, Operation

_FAILED: Final = ("internal_error", UNREADABLE)


@dataclass
class Tally:
    """Counts over one or more event files."""

    operations: dict[tuple[str, str], Operation]
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    valid: dict[str, Counter[str]] = field(default_factory=dict)
    fuzzed: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    scenarios: int = 0
    took_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    checks: Counter[str] = field(default_factory=Counter)
    undocumented_methods: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    errors: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seed: int | None = None
    unfinished: int = 1

    @classmethod
    def of(cls, document: Document, parts: int = 1) -> Tally:
        """Nothing yet. parts: how many event streams will be read."""
        operations = {(op.method.upper(), op.path): op for op in document.operations()}
        names = [op.id for op in operations.values()]
        return cls(
            operations, {name: Counter() for name in names}, {name: Counter() for name in names}, unfinished=parts
        )

    @property
    def requests(self) -> int:
        return sum(self.phases.values())

    def read(self, lines: Iterable[str]) -> None:
        for line in lines:
            event: dict[str, Any] = json.loads(line)
            if "ScenarioFinished" in event:
                self._scenario(event["ScenarioFinished"])
            elif "NonFatalError" in event:
                error = event["NonFatalError"]
                self.errors.append(f"{error['label']}: {error['value']['type']}: {error['value']['message']}")
            elif "FatalError" in event:
                self.errors.append(f"fatal: {json.dumps(event['FatalError'])[:500]}")
            elif "Initialize" in event:
                self.seed = event["Initialize"]["seed"]
            elif "EngineFinished" in event:
                self.unfinished -= event["EngineFinished"]["stop_reason"] == "completed"

    def _scenario(self, scenario: dict[str, Any]) -> None:
        recorder = scenario["recorder"]
        self.scenarios += scenario["phase"] == "stateful"
        self.took_s[recorder["label"]] += scenario["elapsed_time"]
        for name, interaction in recorder.get("interactions", {}).items():
            case = recorder["cases"][name]["value"]
            self.phases[scenario["phase"]] += 1
            operation = self.operations.get((case["method"], case["path"]))
            if scenario["phase"] == "fuzzing" and operation is not None:
                self.fuzzed[operation.id] += 1
            response = interaction.get("response")
            if response is None:
                self.unanswered += 1
            elif operation is None:
                self.undocumented_methods[response["status_code"]] += 1
            else:
                seen = outcomes(operation, response["status_code"], _body(response))
                self.answers[operation.id].update(seen)
                # A check may send a case again without its credential; such a child is valid in nothing but its name.
                probe = (
                    recorder["cases"][name].get("parent_id") and not recorder["cases"][name]["is_transition_applied"]
                )
                if case.get("meta", {}).get("generation", {}).get("mode") == "positive" and not probe:
                    self.valid[operation.id][seen[0]] += 1  # of a batch an error, if it has one
        for name, results in recorder.get("checks", {}).items():
            for check in results:
                self.checks[check["name"]] += 1
                if check["status"] == "failure":
                    failure = check["failure_info"]["failure"]
                    place = failure.get("operation") or recorder["cases"][name]["value"]["path"]
                    self.failures.append(f"{place}: {check['name']}: {failure['title']}")

    def document(self) -> dict[str, Any]:
        """What the run was, for coverage.json."""
        return {
            "seed": self.seed,
            "requests": self.requests,
            "phases": dict(sorted(self.phases.items())),
            "scenarios": self.scenarios,
            "checks": dict(sorted(self.checks.items())),
            "undocumented_methods": _by_status(self.undocumented_methods),
        }

    def slowest(self, count: int = 10) -> list[tuple[str, float]]:
        """What Schemathesis spent most time on (an operation, or all scenarios), and how many seconds."""
        return sorted(self.took_s.items(), key=lambda one: -one[1])[:count]

    def accepted(self, operation: str) -> int:
        """How many valid requests had a 2xx; of calls of JSON-RPC those that had a result."""
        counts = self.valid[operation]
        called = any(op.id == operation and op.rpc_errors for op in self.operations.values())
        return counts[RESULT] if called else sum(n for answer, n in counts.items() if answer.startswith("2"))

    def server_errors(self) -> list[str]:
        """The answers that say that the service failed, each with how often."""
        found = [(name, answer, n) for name, answers in self.answers.items() for answer, n in answers.items()]
        failed = [f"{name} {answer} x{n}" for name, answer, n in found if answer[0] == "5" or answer in _FAILED]
        odd = [f"undocumented method {status} x{n}" for status, n in self.undocumented_methods.items() if status >= 500]
        return [*sorted(failed), *odd]


def _body(response: dict[str, Any]) -> bytes:
    """The first MiB of the body: the fuzzer keeps no more."""
    return base64.b64decode((response.get("content") or {}).get("$base64", ""))


def _by_status(counts: Counter[int]) -> dict[str, int]:
    return {str(status): counts[status] for status in sorted(counts)}
