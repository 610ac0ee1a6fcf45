"""Quotas: how many files, who may raise them, and races for the last byte."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from acceptance.platform.zones import IN_ROW_BYTES, Platform, denied
from acceptance.suite.case import case
from acceptance.system.locks import unfinished
from acceptance.system.match import accepted, refused
from acceptance.system.system import System
from acceptance.system.web_workers import race
from harness.http.client import Answer
from harness.platform.zone import ZONES, Zone

ZONE_LOCK = "select from zones where zone_id = %s for update"


def outcomes(answers: list[Answer]) -> Counter[str]:
    """How many calls had a result, and how many which refusal."""
    bodies = [accepted(answer) for answer in answers]
    return Counter("result" if "result" in body else body["error"]["data"]["code"] for body in bodies)


def limited(platform: Platform, zone: Zone, **limits: int | None) -> None:
    accepted(platform.admin("PATCH", f"{ZONES}/{zone.zone_id}", json={"limits": limits}))


@case("quota/001", "writeFile quota_exceeded", "makeDirectory quota_exceeded", "renamePath result")
def test_files_are_counted(platform: Platform) -> None:
    """Files and directories that were made count towards a limit of files; what replaces or moves does not (004)."""
    zone = platform.zone(limits={"max_files": 3})
    zone.write("/a", "text")
    zone.write("/deep/down/b", "text")
    zone.rpc("mkdir", path="/c")
    with platform.unchanged():
        for method, params in (("write", {"path": "/d", "content": ""}), ("mkdir", {"path": "/d"})):
            assert denied(zone, -32010, "quota_exceeded", method, **params).data["limit"] == "max_files"
    zone.write("/a", "other text")
    zone.rpc("rename", old_path="/a", new_path="/e")
    assert zone.usage()["max_files"] == 3
    zone.rpc("rmdir", path="/c")
    zone.write("/d", "text")
    limited(platform, zone, max_files=1)
    with platform.unchanged():
        denied(zone, -32010, "quota_exceeded", "write", path="/f", content="")
    zone.rpc("rmdir", path="/deep", recursive=True)
    zone.write("/d", "longer text")
    limited(platform, zone, max_files=None)
    zone.write("/f", "text")
    platform.adds_up(zone.zone_id)


@case("quota/002", "writeFile quota_exceeded", "writeFile result")
@pytest.mark.parametrize("size", [7, IN_ROW_BYTES + 7], ids=["in the row", "in the store"])
def test_fifty_writers_at_the_limit(size: int, two_workers: System, platform_of_two: Platform) -> None:
    """Of 50 writers at once, through two workers, as many are let in as there is room for: never one more (004)."""
    platform, room, writers = platform_of_two, 20, 50 if size < IN_ROW_BYTES else 30
    zone = platform.zone(limits={"max_storage_bytes": room * size + size - 1})
    calls = [partial(zone.call, "write", path=f"/{n}", content="x" * size) for n in range(writers)]
    assert outcomes(race(two_workers, calls)) == {"result": room, "quota_exceeded": writers - room}
    assert zone.usage()["max_storage_bytes"] == room * size
    platform.adds_up(zone.zone_id)
    if size > IN_ROW_BYTES:
        platform.loses_nothing(zone.zone_id)
    assert len(zone.log()) == 1 + room


@case("quota/003", "writeFile result", "writeFile quota_exceeded")
def test_a_writer_that_waited_looks_again(two_workers: System, platform_of_two: Platform) -> None:
    """Who waits for another write sees what that one has used, and is refused if nothing is left (platform.md)."""
    platform = platform_of_two
    zone = platform.zone(limits={"max_storage_bytes": 10})
    calls = [partial(zone.call, "write", path=f"/{n}", content="x" * 6) for n in range(4)]
    with ThreadPoolExecutor(1) as pool:
        with unfinished(two_workers, ZONE_LOCK, zone.zone_id) as wait_for:
            racing = pool.submit(race, two_workers, calls)
            wait_for(4)
        answers = racing.result()
    assert outcomes(answers) == {"result": 1, "quota_exceeded": 3}
    platform.adds_up(zone.zone_id)


@case("quota/004", "createZone 201", "updateZone 200", "updateZone 403", "updateZone 422")
def test_limits_are_the_admins(platform: Platform) -> None:
    """All five limits are shown, null is none; an admin alone changes some of them and leaves the others (004)."""
    zone = platform.zone(limits={"max_files": 7})
    names = ("max_storage_bytes", "max_files", "max_agents", "max_tasks_queued", "max_uploads_open")
    shown = accepted(zone.look())
    assert shown["limits"] == dict.fromkeys(names) | {"max_files": 7}
    assert shown["usage"] == dict.fromkeys(names, 0)
    with platform.unchanged():
        body: dict[str, Any] = {"limits": {"max_files": None}}
        refused(zone.request("PATCH", f"{ZONES}/{zone.zone_id}", json=body), 403, "admin_required")
        for wrong in ({"max_files": -1}, {"max_files": "7"}, {"max_files": 1.5}, {"max_everything": 7}, None, 7):
            answer = platform.admin("PATCH", f"{ZONES}/{zone.zone_id}", json={"limits": wrong})
            refused(answer, 422, "validation_error")
    limited(platform, zone, max_storage_bytes=0, max_agents=9)
    assert accepted(zone.look())["limits"] == dict.fromkeys(names) | {
        "max_files": 7,
        "max_storage_bytes": 0,
        "max_agents": 9,
    }
    zone.write("/empty", "")
    denied(zone, -32010, "quota_exceeded", "write", path="/a", content="x")
