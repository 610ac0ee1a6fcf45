"""Mounts as cases use them: a directory of a case's own, mounted, and what lies in it."""

from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.platform.zone import Zone


def add(zone: Zone, point: str, root: Path | str, **fields: Any) -> str:
    """Mount a directory; the id of the mount."""
    local = {"backend_type": "local", "backend_config": {"root_path": str(root)}, "readonly": True}
    mount_id: str = zone.rpc("add_mount", mount_point=point, **(local | fields))
    return mount_id


def told(zone: Zone) -> list[tuple[str, str]]:
    """The events of mounts, oldest first."""
    return [(event["type"], event["path"]) for event in zone.log() if event["type"].startswith("mount.")]


def filled(root: Path, *names: str) -> Path:
    """A directory with files that hold their own paths within it."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def tree_hash(root: Path) -> str:
    """Of every path below a directory, what it is, its content and its time of change."""
    digest = sha256()
    for path in sorted(root.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        digest.update(repr((str(path), path.is_dir(), content, path.stat().st_mtime_ns)).encode())
    return digest.hexdigest()
