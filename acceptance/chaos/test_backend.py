"""The backend dies, or is told to end, while it takes writes: nothing acknowledged is lost, nothing is done twice."""

from functools import partial

from acceptance.chaos.assertions import Suffer
from acceptance.chaos.experiment import NewScene
from acceptance.chaos.injections import backend as faults
from acceptance.chaos.workload import Traffic
from acceptance.suite.case import case

# These recoveries begin with a new process: 1.2 s on a quiet machine, most of it imports, and 9 s on one that is busy.
STARTED_WITHIN_S = 15.0


@case("chaos/001")
def test_the_backend_is_killed(scene: NewScene, suffer: Suffer) -> None:
    """kill -9 of all its processes, 20 times: what was acknowledged is there, once, and it goes on (001: durable)."""
    suffered = suffer(
        scene(workers=2),
        "kill -9 of the backend",
        faults.backend_killed,
        times=20,
        recovers_within_s=STARTED_WITHIN_S,
        sends_again=4,
    )
    assert suffered.tally.unanswered, "no request was under way at any of the kills"


@case("chaos/002")
def test_a_replica_is_killed(scene: NewScene, suffer: Suffer) -> None:
    """kill -9 of one of two replicas, 10 times: clients go on at the other, and lose what was under way (api.md)."""
    suffered = suffer(
        scene(replicas=2),
        "kill -9 of a replica",
        faults.replica_killed(),
        times=10,
        recovers_within_s=2.0,
        sends_again=4,
    )
    assert suffered.tally.unanswered <= Traffic.THREADS * suffered.repetitions, "one request of each client at most"


@case("chaos/003")
def test_sigterm_under_load(scene: NewScene, suffer: Suffer) -> None:
    """SIGTERM under load, 5 times: each request that had begun is answered; code 0 within 10 s (architecture.md)."""
    ends: list[tuple[int | None, float]] = []
    suffered = suffer(
        scene(workers=2),
        "SIGTERM under load",
        partial(faults.sigterm, ends=ends),
        times=5,
        recovers_within_s=STARTED_WITHIN_S,
    )
    assert [code for code, _ in ends] == [0] * suffered.repetitions
    assert max(took_s for _, took_s in ends) < 10.0
    assert not suffered.findings.landed, f"written, and its client never told: {suffered.findings.landed[:5]}"
