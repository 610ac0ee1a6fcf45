"""What happens beside the agents' work. A chapter is a function of the stage, and one line of CHAPTERS."""

from __future__ import annotations

import contextlib
import random
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import gevent
import psycopg

from harness.http.client import Answer, TransportError
from harness.platform import zone_rows
from harness.platform.rpc import unwrapped
from harness.platform.tasks import SCHEDULER
from harness.platform.uploads import Upload, create, length, metadata
from harness.platform.zone import ZONES
from load.platform.caller import Caller, Refused
from load.platform.mount_chapter import mounts
from load.platform.planner import WELCOME
from load.platform.run import ZoneStory
from load.platform.stage import Chapter, Stage

_RANGE: Final = 2**20
_LOOKS: Final = 10
_GONE_WITHIN_S: Final = 20.0


# --- an upload whose link is cut -------------------------------------------------------------------------------------


def upload(stage: Stage) -> None:
    """Three requests, of which the second breaks off in the middle; the rest goes on where the service says."""
    run, story = stage.run, stage.zones[0]
    caller, told = stage.member(story), run.upload
    told.path, told.size = "/media/film.bin", run.scenario.upload_bytes
    content = random.Random(f"{run.seed}/upload").randbytes(told.size)
    told.sent = sha256(content).hexdigest()
    made = caller.ask("upload", lambda: create(caller.zone, length(told.size), metadata(told.path)), 201)
    sent = Upload(caller.zone, made.headers["location"])
    first, told.cut_at = told.size // 3 + 1, told.size // 2
    caller.ask("upload", lambda: sent.append(content[:first], 0), 204)
    with (
        contextlib.suppress(OSError),
        sent.sending(stage.target.base_url, content[first : told.cut_at], first, told.size - first),
    ):
        gevent.sleep(0.2)
    told.resumed_at = _resumed(caller, sent, content)
    caller.note_change("write", told.path)
    story.files[told.path] = ""
    read = sha256()
    for offset in range(0, told.size, _RANGE):
        part = caller.rpc("read", "read", path=told.path, offset=offset, length=_RANGE)
        read.update(unwrapped(part["content"]))
    told.read = read.hexdigest()


def _resumed(caller: Caller, sent: Upload, content: bytes) -> int:
    """Send the rest from where the service says, again where what had arrived before the cut has moved that since."""
    for _ in range(_LOOKS):
        offset = int(caller.ask("upload", sent.look, 200).headers["upload-offset"])
        answer = caller.ask("upload", partial(sent.append, content[offset:], offset), 204, 409)
        if answer.status == 204:
            return offset
        gevent.sleep(0.3)
    caller.fault("upload", f"{_LOOKS} times 409 at the offset that it had told")
    raise Refused("upload")


# --- what zones see of each other ------------------------------------------------------------------------------------


def isolation(stage: Stage) -> None:
    """Each zone asks for what the next one has, by names that it cannot know better."""
    zones = stage.zones
    for story, other in zip(zones, [*zones[1:], zones[0]], strict=True):
        _look(stage, story, other)


def _look(stage: Stage, story: ZoneStory, other: ZoneStory) -> None:
    run, caller = stage.run, stage.member(story)
    theirs = next((task.task_id for task in run.tasks_of(other.name) if task.task_id), "none")
    crossing = [("X-Nexus-Zone-ID", other.zone_id)]
    for path, headers in (
        (f"{SCHEDULER}/task/{theirs}", ()),
        (f"{ZONES}/{other.zone_id}", ()),
        ("/api/v2/events", crossing),
        ("/api/v2/agents", crossing),
    ):
        answer = caller.rest("look", "GET", path, 200, 403, 404, headers=headers)
        if answer.status == 200:
            run.trespasses.append(f"{story.name} was shown {path} of {other.name}")
    if unwrapped(caller.rpc("read", "read", path=WELCOME)) != f"this is {story.name}".encode():
        run.trespasses.append(f"{story.name} reads another zone's {WELCOME}")
    own = {worker.name for worker in run.workers.values() if worker.zone == story.name}
    agents = {agent["agent_id"] for agent in caller.rpc("look", "list_agents")}
    run.trespasses += [f"{story.name} lists {name}, no agent of its own" for name in sorted(agents - own)]
    files = [entry["path"] for entry in caller.rpc("look", "list", path="/", recursive=True, limit=1000)["entries"]]
    run.trespasses += [f"{story.name} lists {path}" for path in files if other.name in path]
    run.looks += 7


# --- a zone is deleted while its leases run --------------------------------------------------------------------------


def deletion(stage: Stage) -> None:
    """The last zone, with a lease that would run for long; then nothing of it is left."""
    run, story = stage.run, stage.zones[-1]
    caller, told = stage.member(story), run.deletion
    held = {"executor": "held", "task_type": "demonstration"}
    caller.rest("submit", "POST", f"{SCHEDULER}/submit", 201, json=held)
    caller.rest("claim", "POST", f"{SCHEDULER}/claim", json={"executor": "held", "lease_s": 3600})
    url = stage.target.database_url
    assert url is not None, "equip asked for it"
    with psycopg.connect(url, connect_timeout=10, autocommit=True) as connection:
        connection.read_only = True
        told.before = rows_of(connection, story.zone_id)
        [(told.running, uid)] = connection.execute(
            "SELECT (SELECT count(*) FROM tasks WHERE zone_id = z.zone_id AND status = 'running'), uid"
            " FROM zones AS z WHERE zone_id = %s",
            [story.zone_id],
        )
        folder = stage.target.objects_dir and stage.target.objects_dir / "zones" / str(uid)
        told.objects_before = _objects(folder)
        story.ends_at = run.clock.now()
        _delete(stage, story)
        told.took_s = run.clock.now() - story.ends_at
        told.after = rows_of(connection, story.zone_id)
        told.objects_after = _objects(folder)
    told.key_status = stage.client.bearer(story.key, "GET", f"{ZONES}/{story.zone_id}").status


def _delete(stage: Stage, story: ZoneStory) -> None:
    admin = Caller(stage.run, story, stage.client, stage.admin_key)
    admin.rest("delete_zone", "DELETE", f"{ZONES}/{story.zone_id}", 202)
    if not gone(stage, story):
        raise Refused("delete_zone")


def gone(stage: Stage, story: ZoneStory) -> bool:
    """Whether a zone that is being deleted is no more in time."""
    over = stage.run.clock.now() + _GONE_WITHIN_S
    while stage.run.clock.now() < over:
        with contextlib.suppress(TransportError):
            answer: Answer = stage.client.bearer(stage.admin_key, "GET", f"{ZONES}/{story.zone_id}")
            if answer.status == 404:
                return True
        gevent.sleep(0.2)
    return False


def rows_of(connection: psycopg.Connection[Any], zone_id: str) -> dict[str, int]:
    """How many rows each table with a zone_id has of the zone, without those that have none."""
    tables = [name for (name,) in connection.execute(zone_rows.TABLES)]
    return zone_rows.counts(tables, lambda sql: connection.execute(sql.encode(), [zone_id]).fetchall()[0][0])


def _objects(folder: Path | None) -> int | None:
    """Of names that are left, the folder's own among them."""
    return None if folder is None else folder.exists() + sum(1 for _ in folder.rglob("*"))


CHAPTERS: Final = (
    Chapter("upload", lambda show: show.upload_at, upload),
    Chapter("mounts", lambda show: show.mounts_at, mounts),
    Chapter("isolation", lambda show: show.isolation_at, isolation),
    Chapter("deletion", lambda show: show.deletion_at, deletion),
)
