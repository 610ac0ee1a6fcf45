"""A writable mount of a zone as cases use it: its directory, changes below it, pushes, conflicts."""

from pathlib import Path
from typing import Any

from acceptance.platform.mounts import add
from acceptance.platform.zones import Platform
from acceptance.system.match import accepted
from harness.http.client import Answer
from harness.platform.zone import SYNC, Zone

STRATEGIES = ("keep_local", "keep_remote", "keep_newer", "keep_larger", "keep_both", "abort")
_LEFT = {
    "mount_changes": "select count(*) from mount_changes where mount_id::text = %s",
    "mount_bases": "select count(*) from mount_bases where mount_id::text = %s",
}


class Mount:
    """A directory that is mounted in a zone."""

    def __init__(self, platform: Platform, zone: Zone, root: Path, point: str = "/data") -> None:
        """root: is made where it is not there."""
        self.platform, self.zone, self.root, self.point = platform, zone, root, point
        self.id: str = add(zone, point, root, readonly=False)

    def change(self, path: str, content: bytes | None) -> None:
        """Write a file below the mount, or delete it."""
        if content is None:
            self.zone.rpc("delete", path=f"{self.point}/{path}")
        else:
            self.zone.write(f"{self.point}/{path}", content)

    def at_backend(self, path: str) -> bytes | None:
        """What the backend has there."""
        file = self.root / path
        return file.read_bytes() if file.is_file() else None

    def push(self) -> Answer:
        """Bring what is to be brought, as an admin."""
        point = self.point.removeprefix("/")
        return self.platform.as_admin(self.zone.zone_id).request("POST", f"{SYNC}/mounts/{point}/push")

    def pushed(self) -> tuple[int, int, int, int]:
        """The same: how many were brought, failed, are in conflict since, and are left."""
        found = accepted(self.push())
        assert (found["mount_point"], found["conflicts"]) == (self.point, found["conflicts_detected"])
        return found["changes_pushed"], found["changes_failed"], found["conflicts"], found["remaining"]

    def in_conflict(
        self,
        path: str = "a",
        *,
        base: bytes | None = b"base",
        ours: bytes | None = b"ours",
        theirs: bytes | None = b"theirs",
    ) -> dict[str, Any]:
        """The conflict of a path that both sides have changed."""
        if base is not None:
            self.change(path, base)
            assert self.pushed()[0] == 1
        self.change(path, ours)
        if theirs is None:
            (self.root / path).unlink()
        else:
            (self.root / path).write_bytes(theirs)
        assert self.pushed()[:3] == (0, 0, 1)
        [conflict] = [one for one in self.conflicts() if one["path"] == f"{self.point}/{path}"]
        return conflict

    def conflicts(self, **params: str) -> list[dict[str, Any]]:
        """The open ones of the zone."""
        answer = self.zone.request("GET", f"{SYNC}/conflicts", params={"status": "open", **params})
        items: list[dict[str, Any]] = accepted(answer)["items"]
        return items

    def resolve(self, conflict: dict[str, Any], strategy: str) -> Answer:
        """End a conflict, as a member."""
        path = f"{SYNC}/conflicts/{conflict['conflict_id']}/resolve"
        return self.zone.request("POST", path, json={"strategy": strategy})

    def told(self, kind: str) -> list[str]:
        """The paths of the events of this type, oldest first."""
        return [event["path"] for event in self.zone.log(operation_type=f"sync.{kind}")]

    def left(self) -> dict[str, int]:
        """How many rows the mount has of what is to be brought."""
        values = (self.platform.system.db.value(statement, self.id) for statement in _LEFT.values())
        return dict(zip(_LEFT, values, strict=True))
