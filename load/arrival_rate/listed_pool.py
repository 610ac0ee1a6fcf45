"""A pool that the provider lists and a sync fills, with its jobs beside the students, and a provider that fails."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import gevent

from harness.http.client import Answer
from harness.http.transport import TransportError
from harness.provider.server import ProviderControl
from harness.settings import SettingsError, Target
from load.arrival_rate.pool import ROLES, SeededPool
from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.students import StudentRequests
from load.arrival_rate.workload import Assignment, Observations, Workload
from load.verdict.check import Finding, RunCheck, Undecided
from load.workloads.call_record import CallRecord

Answers = Sequence[dict[str, Any]]
_ROUND_S: Final = 4.0  # of all jobs
_JOBS: Final = ("sync", "auto-expire", "cleanup", "auto-delete-stale")
# What the provider does to the list and to deletions, a round each: well, badly, slowly, not at all.
_LISTS: Final[Sequence[Answers]] = (
    [],
    [{"status": 500, "times": 0}],
    [{"delay_s": 1.0, "times": 0}],
    [{"body": b'{"results": []}', "content_type": "application/json", "times": 0}],
    [{"drop": True, "times": 0}],
)
_DELETES: Final[Sequence[Answers]] = (
    [],
    [{"status": 503, "every": 2, "times": 0}],
    [{"delay_s": 0.5, "times": 0}],
    [{"status": 429, "retry_after": 1, "times": 1}],
    [{"drop": True, "effect": True, "every": 3, "times": 0}],
)


class ListedPool(SeededPool):
    """One that the provider lists and a sync has filled, beside whose students all jobs run and the provider fails."""

    def __init__(self, target: Target) -> None:
        """SettingsError: also where the provider is no fake."""
        super().__init__(target)
        if target.provider_control_url is None:
            raise SettingsError("NEXMDM_PROVIDER_CONTROL_URL: not set; only a fake provider can be told to fail")
        self._fake = ProviderControl(target.provider_control_url)
        self._jobs: Counter[str] = Counter()
        # What a job says of a provider that fails is an error, and is meant to be one.
        self.checks = (self.counters, RunCheck("jobs", "every job ran, and the provider failed some", self._ran))

    def _provider(self) -> ProviderControl:
        return self._fake

    def _fill(self, whole: Assignment) -> None:
        self._fake.add(whole.devices)
        said = self._admin("sync")
        if said.status != 200 or said.json()["synced"] != whole.devices:
            raise SettingsError(f"the first sync answered {said.status} {said.body[:200]!r}")

    @contextlib.contextmanager
    def disturbed(self) -> Iterator[None]:
        """Every job again and again, while the provider is slow, fails and hangs in turn."""
        rounds = gevent.spawn(self._rounds)
        try:
            yield
        finally:
            rounds.kill()
            self._fake.script("list", [])
            self._fake.script("delete", [])

    def _rounds(self) -> None:
        for number in itertools.count():
            self._fake.script("list", _LISTS[number % len(_LISTS)])
            self._fake.script("delete", _DELETES[number % len(_DELETES)])
            for job in _JOBS:
                gevent.sleep(_ROUND_S / len(_JOBS))
                with contextlib.suppress(TransportError):
                    self._jobs[f"{job} {self._admin(job).status}"] += 1

    def _ran(self, _: ArrivalRateRun, __: Observations) -> Finding:
        told = ", ".join(f"{count} x {outcome}" for outcome, count in sorted(self._jobs.items()))
        idle = [job for job in _JOBS if not self._jobs[f"{job} 200"]]
        if idle or not self._jobs["sync 502"]:
            raise Undecided(f"too little went on beside the students: {told}")
        return Finding([], told)

    def _admin(self, job: str) -> Answer:
        return self.client.bearer(self.keys[ROLES.index("admin")], "POST", f"/v1/admin/{job}")


STUDENTS_BESIDE_JOBS: Final = Workload(StudentRequests, CallRecord, CallRecord.from_dict, ListedPool)
