"""Faults in the middle of what is done with a sandbox, of its provider, and of the clock that ends an allocation."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg

from acceptance.chaos.experiment import BREAKER_OPEN_S, Fault, Scene
from acceptance.chaos.injections.backend import kill_dispatcher
from acceptance.chaos.operations import new_track
from acceptance.system.web_workers import only, web_processes
from harness.chaos.clock import MovedClock
from harness.provider.server import SILENT, ProviderControl
from harness.waiting import eventually

AWAY_S = 3 * BREAKER_OPEN_S
DURATION_S, GRACE_S = 60, 60
BACK_S = 12.0  # what was due before the clock went back is due so many seconds later
# The session that works for a track and waits for another: it has picked a sandbox, and cannot yet write that down.
_IN_THE_MIDDLE = """
    select pid from pg_locks where locktype = 'advisory' and classid = 1396855378 and granted
        and objid = (hashtext(%s)::bigint & 4294967295)::oid and cardinality(pg_blocking_pids(pid)) > 0
"""
_WAITING = "select sandbox_id from sandboxes where status in ('pending_deletion', 'deleting')"
_DELETING = "select sandbox_id from sandboxes where status = 'deleting'"


def worker_killed(repeats: list[int], *, is_undone: bool) -> Fault:
    """kill -9 of the worker that is allocating: a sandbox is picked, and the ledger is not yet written.

    is_undone: PostgreSQL ends the session of the dead client before it can go on; else it goes on, and commits.
    repeats: the status with which the next request of that track was answered.
    """

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        system, track_id, victim = scene.system, new_track(), web_processes(scene.system)[0]
        with (
            ThreadPoolExecutor(1) as threads,
            psycopg.connect(system.target.database_url or "", autocommit=True) as admin,
            psycopg.connect(system.target.database_url or "") as owner,
        ):
            owner.execute("lock table allocations in share mode")
            with only(system, victim):
                asked = threads.submit(scene.client().allocate, track_id)
                found = eventually(lambda: system.db.rows(_IN_THE_MIDDLE, track_id), 5.0, what="a pick")
            os.kill(victim, signal.SIGKILL)
            assert asked.result() is None, "the worker that was killed has answered"
            if is_undone:
                admin.execute("select pg_terminate_backend(%s, 5000)", [found[0]["pid"]])
            owner.rollback()
        eventually(lambda: scene.writes.allocate(track_id), 10.0, what="the answer to a repeat")
        [*_, last] = [entry for entry in scene.ledger.entries("allocation") if entry.key == track_id]
        repeats.append(last.status or 0)
        yield

    return fault


@contextmanager
def killed_while_it_deletes(scene: Scene) -> Iterator[None]:
    """kill -9 of the background process while the provider deletes."""
    system, provider = scene.system, scene.system.provider
    provider.script("delete", [{"status": 204, "delay_s": 0.8, "times": 0}])
    provider.calls("delete", after=_last(provider), wait_s=10.0)
    kill_dispatcher(scene)
    killed = time.monotonic()
    provider.script("delete", [])
    held = [row["sandbox_id"] for row in system.db.rows(_DELETING)]
    assert held, "nothing was being deleted"
    scene.goes_on("allocation", "release")
    scene.catches_up(held, killed)
    yield


def _last(provider: ProviderControl) -> int:
    return max((int(call["seq"]) for call in provider.calls()), default=0)


def _answers(answer: dict[str, Any]) -> Callable[[ProviderControl, bool], None]:
    def switch(provider: ProviderControl, away: bool) -> None:
        provider.script("list", [{**answer, "times": 0}] if away else [])
        provider.script("delete", [{**answer, "times": 0}] if away else [])

    return switch


def _power(provider: ProviderControl, away: bool) -> None:
    (provider.down if away else provider.up)()


PROVIDER_AWAY: dict[str, Callable[[ProviderControl, bool], None]] = {
    "provider down": _power,
    "provider answers 503": _answers({"status": 503}),
    "provider silent": _answers({**SILENT, "effect": False}),
}


def provider_away(switch: Callable[[ProviderControl, bool], None], calls: list[int]) -> Fault:
    """Away for three times as long as the breaker is open; students come and go.

    calls: how many reached it after the breaker had opened.
    """

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        system, provider = scene.system, scene.system.provider
        switch(provider, True)
        try:
            opened = "select open_until is not null from breaker"
            eventually(lambda: system.db.value(opened), 20.0, what="an open breaker")
            after, until = _last(provider), time.monotonic() + AWAY_S
            scene.goes_on("allocation", "release", writes=15)
            eventually(lambda: time.monotonic() >= until, AWAY_S + 1)
            calls.append(len(provider.calls(after=after)))
            waiting = [row["sandbox_id"] for row in system.db.rows(_WAITING)]
            assert waiting, "a provider that is away deletes"
        finally:
            switch(provider, False)
        back = time.monotonic()
        scene.catches_up(waiting, back)
        yield

    return fault


def clock_over_an_expiry(clock: MovedClock) -> Fault:
    """The database's clock goes into the grace of all allocations, past it, and back into it, as after a fail-over."""

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        writes, pool = scene.writes, scene.pool
        again, late, silent = tracks = [new_track() for _ in range(3)]
        given = {track_id: writes.allocate(track_id)["sandbox_id"] for track_id in tracks}
        clock.move(DURATION_S + 10.0)
        assert writes.allocate(again)["sandbox_id"] == given[again], "in its grace it is the same one"
        clock.move(GRACE_S - 10.0 + 2.0)
        assert writes.allocate(again)["sandbox_id"] != given[again], "past its grace it is another"
        assert writes.release(late, given[late])["code"] == "allocation_expired"
        eventually(lambda: pool.status(given[silent]) != "allocated", 20.0, what="the sweep")
        clock.move(-BACK_S)
        assert writes.allocate(silent)["sandbox_id"] != given[silent], "what has ended stays so"
        assert writes.release(late, given[late])["code"] == "allocation_expired"
        scene.goes_on("allocation", "release", writes=10)
        yield

    return fault
