"""The object store of a system as cases look into it: a directory, or a prefix of a bucket."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from acceptance.system.s3 import BUCKET, METHODS, S3Server
from acceptance.system.system import System


class Folder(Protocol):
    """Where objects lie: those of a system, or of a zone of it."""

    def exists(self) -> bool:
        """Whether anything of it is left."""

    def names(self) -> list[str]:
        """Every object, and whatever else lies there."""

    def add(self, name: str) -> None:
        """Put an object of one byte there, which no row knows."""

    def lose(self) -> None:
        """All of it is lost, and the rows know nothing of it."""


class Store(Folder, Protocol):
    """All of a system's."""

    def zone(self, uid: str) -> Folder:
        """The objects of a zone, by its uid."""

    def away(self) -> AbstractContextManager[None]:
        """Nothing can be read or written during the block."""


def store_of(system: System) -> Store:
    """The store that the system was started with."""
    url = system.running.env["NEXMDM_PLATFORM_STORAGE_URL"]
    return _Directory(Path(url)) if system.s3 is None else _Prefix(system.s3, url.removeprefix(f"s3://{BUCKET}/"))


class _Directory:
    def __init__(self, path: Path) -> None:
        self.path = path

    def zone(self, uid: str) -> "_Directory":
        return _Directory(self.path / "zones" / uid)

    @contextmanager
    def away(self) -> Iterator[None]:
        zones, aside = self.path / "zones", self.path / "aside"
        zones.mkdir(parents=True, exist_ok=True)
        zones.rename(aside)
        zones.write_text("no directory")
        try:
            yield
        finally:
            zones.unlink()
            aside.rename(zones)

    def exists(self) -> bool:
        return self.path.exists()

    def names(self) -> list[str]:
        return sorted(str(path) for path in self.path.rglob("*") if not path.is_dir())

    def add(self, name: str) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_bytes(b"x")

    def lose(self) -> None:
        for name in self.names():
            Path(name).unlink()


class _Prefix:
    def __init__(self, server: S3Server, prefix: str) -> None:
        self._server, self._prefix = server, prefix

    def zone(self, uid: str) -> "_Prefix":
        return _Prefix(self._server, f"{self._prefix}/zones/{uid}")

    @contextmanager
    def away(self) -> Iterator[None]:
        for method in METHODS:
            self._server.control.script(method, {"drop": True, "times": 0})
        try:
            yield
        finally:
            for method in METHODS:
                self._server.control.script(method)

    def exists(self) -> bool:
        return bool(self.names())

    def names(self) -> list[str]:
        return sorted(self._server.keys(f"{self._prefix}/"))

    def add(self, name: str) -> None:
        self._server.client.put_object(Bucket=BUCKET, Key=f"{self._prefix}/{name}", Body=b"x")

    def lose(self) -> None:
        for name in self.names():
            self._server.client.delete_object(Bucket=BUCKET, Key=name)
