"""The demonstration of the platform: three zones, agents that enrol and work, and what happens beside them."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Final

import gevent
from gevent.event import Event

from harness import api_keys
from harness.http.client import Transport
from harness.platform.zone import ZONES
from harness.settings import Target
from harness.verdict.thresholds import Status
from load.closed_loop import ClosedLoop, User
from load.engine import NotReady
from load.measurements.run import in_short
from load.platform.agent import Agent
from load.platform.caller import Refused, ZoneOver
from load.platform.chapters import CHAPTERS, gone
from load.platform.criteria import CRITERIA
from load.platform.observer import Observations, Observer
from load.platform.planner import Planner, follow
from load.platform.run import PlatformRun, ZoneStory
from load.platform.stage import Chapter, Stage
from load.progress import Now
from load.workloads.platform import PlatformShow

_STARTS_WITHIN_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.2


class PlatformLoop(ClosedLoop[PlatformRun, Observations]):
    """A user is one agent."""

    criteria = CRITERIA

    def __init__(self, scenario: PlatformShow, target: Target, admin: Transport, seed: int | None = None) -> None:
        super().__init__(PlatformRun.of(scenario, target, seed), target, admin)
        self.show = scenario
        self._rows = self.observer = Observer(self.run, target, self.client)
        self._admin_key = ""
        self._filled = {name: Event() for name in scenario.zones}  # the zone has its backlog

    @property
    def patience_s(self) -> float:
        return self.show.duration_s + self.show.settle_s

    @property
    def stage(self) -> Stage:
        return Stage(self.run, self.target, self.client, self._admin_key)

    def equip(self) -> str:
        """Make an admin's key, the zones, and a member's key of each."""
        url = self.target.database_url
        if url is None:
            raise NotReady("needs DATABASE_URL: keys are made, and rows are read there", Status.INCONCLUSIVE)
        self._admin_key = api_keys.insert_key(url, "admin")
        self.run.secrets.append(self._admin_key)
        for name in self.show.zones:
            zone_id = f"show-{self.run.id}-{name}"
            body = {"zone_id": zone_id, "name": name}
            answer = self.client.bearer(self._admin_key, "POST", ZONES, json=body)
            if answer.status != 201:
                raise NotReady(f"POST {ZONES} answered {answer.status}", Status.FAIL)
            self.run.zones[name] = ZoneStory(name, zone_id, "")
            self.run.zones[name].key = key = api_keys.insert_key(url, "member", zone=zone_id)
            self.run.secrets.append(key)
        return f"{len(self.run.zones)} zones"

    def clear_away(self) -> None:
        """Delete the zones that are left, wait for their end, and remove the keys."""
        url = self.target.database_url
        for story in self.run.zones.values():
            self.client.bearer(self._admin_key, "DELETE", f"{ZONES}/{story.zone_id}")
        left = [story.zone_id for story in self.run.zones.values() if not gone(self.stage, story)]
        if url is not None and self._admin_key:
            for story in self.run.zones.values():
                api_keys.delete_keys_of_zone(url, story.zone_id)
            api_keys.delete_key(url, self._admin_key)
        if left:
            raise RuntimeError(f"{', '.join(left)}: being deleted still")

    # --- an agent ----------------------------------------------------------------------------------------------------

    def play(self, user: User, begun_at: float) -> None:
        """Enrol, and work until the zone is worked off; one of each zone that stays falls silent with tasks in hand."""
        names = self.show.zones
        story = self.run.zones[names[user.number % len(names)]]
        number = user.number // len(names) + 1
        agent = Agent(self.run, story, f"{story.name}-agent-{number}", user.client, user.rng)
        is_silent = number == 2 and story.name != names[-1]
        silent_at = begun_at + self.show.silent_at * self.show.duration_s if is_silent else None
        try:
            self.pause_until(begun_at + user.rng.uniform(0.0, 1.0))
            agent.enrol()
            self._filled[story.name].wait(_STARTS_WITHIN_S)
            self._work(agent, story, begun_at + self.show.duration_s, silent_at)
        except (Refused, ZoneOver):
            pass  # the run knows

    def _work(self, agent: Agent, story: ZoneStory, until: float, silent_at: float | None) -> None:
        while self.run.clock.now() < until or not self.run.is_worked_off(story):
            agent.heartbeat()
            given = agent.claim()
            is_due = silent_at is not None and self.run.clock.now() >= silent_at
            left = [claim for task, claim in given if is_due and task.may_be_left(claim)]
            for task, claim in given:
                if claim not in left:
                    agent.work(task, claim)
                    agent.heartbeat()
            if left:
                agent.worker.silent_at = self.run.clock.now()
                return

    # --- what goes on around them ------------------------------------------------------------------------------------

    def lead(self) -> None:
        """Fill the queues, read the logs, play the chapters; wait until agents are done, and the silent ones idle."""
        parts = [partial(self._plan, story) for story in self.run.zones.values()]
        parts += [partial(self._play_chapter, chapter) for chapter in CHAPTERS]
        busy = [self.greenlets.spawn(self._guarded, part) for part in parts]
        readers = [
            self.greenlets.spawn(self._guarded, partial(follow, self.run, story, self.client))
            for story in self.run.zones.values()
        ]
        self.wait_for("done", self.patience_s)
        gevent.joinall(busy, timeout=self.show.settle_s)
        self.run.enter("waiting until the silent agents are idle")
        over = self.run.clock.now() + self.show.settle_s
        while self.run.clock.now() < over and not self._rows.are_idle():
            gevent.sleep(_LOOK_EVERY_S)
        gevent.sleep(1.0)  # for the readers, twice as long as they pause and ask
        gevent.killall(readers)

    def _plan(self, story: ZoneStory) -> None:
        planner = Planner(self.run, story, self.client, random.Random(f"{self.run.seed}/{story.name}"))
        try:
            planner.prepare()
            self._filled[story.name].set()
            assert self.run.begun_at is not None, "they have begun"
            planner.go_on(self.run.begun_at + self.show.submissions_end * self.show.duration_s)
        finally:
            story.planned = True
            self._filled[story.name].set()

    def _play_chapter(self, chapter: Chapter) -> None:
        assert self.run.begun_at is not None, "they have begun"
        self.pause_until(self.run.begun_at + chapter.at(self.show) * self.show.duration_s)
        self.run.enter(f"working; {chapter.name}")
        chapter.play(self.stage)

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except (Refused, ZoneOver):
            pass  # the run knows
        except Exception as error:  # noqa: BLE001  # whatever broke around the agents, the run proves nothing
            self.run.doubts.append(f"what goes on around the agents has ended: {in_short(error)}")

    def now(self) -> Now:
        run, done_s = self.run, self.elapsed_s()
        counts = [sum(task.status == state for task in run.tasks.values()) for state in ("completed", "failed")]
        events = sum(len(story.events) for story in run.zones.values())
        shown = f"{sum(one.ready_at is not None for one in run.workers.values())} agents · {len(run.tasks)} tasks"
        shown += f", {counts[0]} completed, {counts[1]} failed · {events} events"
        shown += f" · {run.wrong.total()} wrong" if run.wrong else ""
        total = self.show.duration_s
        line = f" {min(done_s, total):.0f}/{total:g} s · {shown}" if run.begun_at is not None else ""
        return Now(run.phase, shown, min(done_s, total), total, line)
