"""A directory is mounted: files are written through it, somebody else changes one too, and both are kept."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import gevent

from harness.platform.rpc import unwrapped
from harness.platform.zone import SYNC
from load.platform.caller import Caller, Refused
from load.platform.run import Mounting
from load.platform.stage import Stage

POINT: Final = "/depot"
_FILES: Final = 6
_DELIVERED_WITHIN_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.1


def mounts(stage: Stage) -> None:
    """In the first zone; where the backend's directories are not this machine's, nothing is mounted."""
    if stage.target.objects_dir is None:
        return
    run, story = stage.run, stage.zones[0]
    in_zone = [("X-Nexus-Zone-ID", story.zone_id)]
    member, admin = stage.member(story), Caller(run, story, stage.client, stage.admin_key, in_zone)
    with tempfile.TemporaryDirectory(prefix="nexmdm-show-") as folder:
        config = {"root_path": folder}
        member.rpc("mount", "add_mount", mount_point=POINT, backend_type="local", backend_config=config)
        run.mounting.sent = {f"file-{number}.txt": f"{number} of {story.name}" for number in range(1, _FILES + 1)}
        _write_through(member, run.mounting, Path(folder))
        _disagree(member, admin, run.mounting, Path(folder))
        member.rpc("mount", "remove_mount", mount_point=POINT)
        run.mounting.left = [
            entry["path"]
            for entry in member.rpc("look", "list", path="/", recursive=True, limit=1000)["entries"]
            if entry["path"].startswith(POINT)
        ]


def _write_through(member: Caller, told: Mounting, folder: Path) -> None:
    """What a member writes is in the directory soon, and what is in the directory a member reads at once."""
    for name, content in told.sent.items():
        member.change("write", "write", f"{POINT}/{name}", path=f"{POINT}/{name}", content=content)
    clock = member.run.clock
    began = clock.now()
    while clock.now() < began + _DELIVERED_WITHIN_S and not told.is_delivered:
        gevent.sleep(_LOOK_EVERY_S)
        told.found = {path.name: path.read_text() for path in folder.iterdir() if path.name in told.sent}
    told.took_s = clock.now() - began
    (folder / "foreign.txt").write_text(told.foreign)
    told.foreign_read = _read(member, f"{POINT}/foreign.txt")


def _disagree(member: Caller, admin: Caller, told: Mounting, folder: Path) -> None:
    """Both sides change a file, and a push finds that; it is resolved so that both contents are kept."""
    name = next(iter(told.sent))
    path = f"{POINT}/{name}"
    (folder / name).write_text(told.theirs)
    member.change("write", "write", path, path=path, content=told.ours)
    admin.rest("push", "POST", f"{SYNC}/mounts{POINT}/push")
    conflicts = _open_conflicts(member)
    if [conflict["path"] for conflict in conflicts] != [path]:
        member.fault("conflict", f"both sides have changed a file, and {len(conflicts)} conflicts are open")
        raise Refused("conflict")
    told.while_open = _read(member, path), (folder / name).read_text()
    resolve = f"{SYNC}/conflicts/{conflicts[0]['conflict_id']}/resolve"
    resolved = member.rest("resolve", "POST", resolve, json={"strategy": "keep_both"}).json()
    told.kept = _read(member, path), _read(member, resolved["copy_path"])
    told.open_after = len(_open_conflicts(member))


def _open_conflicts(member: Caller) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = member.rest("look", "GET", f"{SYNC}/conflicts?status=open").json()["items"]
    return found


def _read(member: Caller, path: str) -> str:
    return unwrapped(member.rpc("read", "read", path=path)).decode()
