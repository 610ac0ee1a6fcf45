"""A zone against a model in memory (hypothesis): rules call both, invariants compare them after each step."""

from contextlib import ExitStack
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from acceptance.platform.zones import Platform


class OfAZone(RuleBasedStateMachine):
    """Calls of one new zone; at the end its log has no gap."""

    platform: ClassVar[Platform]
    limits: ClassVar[dict[str, int] | None] = None

    def __init__(self) -> None:
        super().__init__()
        self._opened = ExitStack()
        self._zone = self._opened.enter_context(self.platform.apart(self.platform.zone(limits=self.limits)))

    def teardown(self) -> None:
        numbers = [event["sequence_number"] for event in self._zone.log()]
        assert numbers == list(range(1, len(numbers) + 1))
        self._opened.close()


def compare(machine: type[OfAZone], platform: Platform, *, zones: int = 20) -> None:
    """Play the machine in so many zones, 25 calls in each, the same ones each time."""
    of_this_system: Any = type(machine.__name__, (machine,), {"platform": platform})
    run_state_machine_as_test(
        of_this_system,
        settings=settings(
            max_examples=zones,
            stateful_step_count=25,
            deadline=None,
            database=None,
            derandomize=True,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
