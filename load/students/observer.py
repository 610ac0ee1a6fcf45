"""What students left behind: pool and ledger in the database, the provider's record, counters, log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.http.client import Client
from harness.provider.server import ProviderControl
from harness.sandboxes.verify import verify
from harness.settings import Target
from harness.verdict.thresholds import Check
from load.measurements.observations import Before, LogErrors, Metrics, Part, count_errors, observed
from load.students.run import StudentRun
from load.verdict.check import judged_elsewhere

_LABS = "SELECT track_name, count(*) FROM allocations WHERE starts_with(track_id, %s) GROUP BY 1"


def pool_now(client: Client, admin_key: str, request_id: str) -> dict[str, int]:
    """How many sandboxes are in each state. ValueError: the deployment does not say. TransportError."""
    answer = client.bearer(admin_key, "GET", "/v1/admin/stats", request_id=request_id)
    if answer.status != 200:
        raise ValueError(f"/v1/admin/stats answered {answer.status}")
    stats = answer.json()
    return {name: value for name, value in stats.items() if isinstance(value, int)}


@dataclass
class Observations:
    """verified: the verifier's checks V1 to V10. labs: allocations of the run's tracks, by lab."""

    verified: Part[Sequence[Check]] = field(default_factory=Part)
    labs: Part[dict[str, int]] = field(default_factory=Part)
    metrics: Part[Metrics] = field(default_factory=Part)
    log: Part[LogErrors] = field(default_factory=Part)


class Observer:
    """Made before the run, so that it knows what was there already; `collect` reads what came to be since.

    label: of the sandboxes that were seeded; None: the whole pool is the run's.
    """

    def __init__(self, run: StudentRun, target: Target, client: Client, label: str | None) -> None:
        self._run, self._target, self._label = run, target, label
        self._before = Before(target, client)

    def begin(self) -> None:
        """Note the counters as they are. Raises what the client and the parser raise."""
        self._before.note(f"{self._run.tag}-before")

    def collect(self) -> Observations:
        """Read everything."""
        run = self._run
        return Observations(
            verified=observed(self._verified, run, "database"),
            labs=observed(self._labs, run, "database"),
            metrics=observed(lambda: self._before.metrics(f"{run.tag}-after"), run),
            log=observed(lambda: count_errors(self._before.stream()), run, "logs"),
        )

    def _verified(self) -> Sequence[Check]:
        run, control = self._run, self._target.provider_control_url
        assert self._target.database_url is not None
        seeded = None if self._label is None else run.scenario.sandboxes
        provider = None if control is None else ProviderControl(control)
        url, calls = self._target.database_url, run.calls
        return verify(url, calls, label=self._label, seeded=seeded, provider=provider).checks

    def _labs(self) -> dict[str, int]:
        with self._before.connect() as connection:
            return dict(connection.execute(_LABS, (f"{self._run.tag}-",)).fetchall())


def verified(seen: Observations) -> Sequence[Check]:
    """The verifier's checks."""
    return judged_elsewhere(seen.verified, "verify", "the verifier was asked")
