"""Faults of the platform under load: what was acknowledged of a zone is there, with its event, whatever fails."""

import pytest

from acceptance.platform.tailing import ended_while_it_writes
from acceptance.suite.case import case
from acceptance.system.system import FreshBackend


@case("chaos/023")
def test_a_kill_while_files_are_written(fresh_backend: FreshBackend, pytestconfig: pytest.Config) -> None:
    """kill -9 of all processes, 20 times, while 8 write files: each acknowledged one is there, with its event (004)."""
    times = 1 if pytestconfig.option.sample else 20
    ended_while_it_writes(fresh_backend(workers=2), killed=True, times=times)
