"""What a zone's files are after calls, and what refuses a call: the rules of the platform as a dict and a few lines."""

from collections.abc import Iterator

Entries = dict[str, bytes | None]  # None: a directory that was made


class FileTree:
    """Each method is a call: the reasons to refuse it, one of which the service gives; without any it is done."""

    def __init__(self, most_bytes: int, most_files: int) -> None:
        self.entries: Entries = {}
        self._most_bytes, self._most_files = most_bytes, most_files

    @property
    def size(self) -> int:
        return total(self.entries)

    def write(self, path: str, content: bytes) -> set[str]:
        reasons = set(self._blocked(path))
        if self.is_directory(path):
            reasons.add("is_a_directory")
        return self._done(self.entries | {path: content}, reasons)

    def delete(self, path: str) -> set[str]:
        reasons = set() if self.is_file(path) else {"is_a_directory" if self.is_directory(path) else "not_found"}
        return self._done(self._without(path), reasons)

    def rename(self, old: str, new: str) -> set[str]:
        reasons = set(self._blocked(new))
        if new == old or new.startswith(below(old)):
            reasons.add("path_invalid")
        if not self.exists(old):
            reasons.add("not_found")
        if self.exists(new):
            reasons.add("exists")
        moved = {new + path[len(old) :]: kept for path, kept in self._tree(old).items()}
        return self._done(self._without(old) | moved, reasons)

    def mkdir(self, path: str, parents: bool) -> set[str]:
        reasons = set(self._blocked(path))
        if parents and self.is_file(path):
            reasons.add("not_a_directory")
        if not parents and self.exists(path):
            reasons.add("exists")
        if not parents and not self.exists(path.rpartition("/")[0] or "/"):
            reasons.add("not_found")
        return self._done(self.entries if path in self.entries else self.entries | {path: None}, reasons)

    def rmdir(self, path: str, recursive: bool) -> set[str]:
        reasons = set()
        if self.is_file(path):
            reasons.add("not_a_directory")
        if not self.exists(path):
            reasons.add("not_found")
        if not recursive and self._tree(path).keys() - {path}:
            reasons.add("directory_not_empty")
        return self._done(self._without(path), reasons)

    def is_file(self, path: str) -> bool:
        return isinstance(self.entries.get(path), bytes)

    def is_directory(self, path: str) -> bool:
        """Made, or implied by what lies below it."""
        made = path in self.entries and self.entries[path] is None
        return path == "/" or made or any(one.startswith(below(path)) for one in self.entries)

    def exists(self, path: str) -> bool:
        return self.is_file(path) or self.is_directory(path)

    def _tree(self, path: str) -> Entries:
        return {one: kept for one, kept in self.entries.items() if one == path or one.startswith(below(path))}

    def _without(self, path: str) -> Entries:
        gone = self._tree(path)
        return {one: kept for one, kept in self.entries.items() if one not in gone}

    def _blocked(self, path: str) -> Iterator[str]:
        parts = path.split("/")
        if any(self.is_file("/".join(parts[:end])) for end in range(2, len(parts))):
            yield "not_a_directory"

    def _done(self, entries: Entries, reasons: set[str]) -> set[str]:
        grown, more = total(entries) - self.size, len(entries) - len(self.entries)
        if (grown > 0 and total(entries) > self._most_bytes) or (more > 0 and len(entries) > self._most_files):
            reasons = reasons | {"quota_exceeded"}
        if not reasons:
            self.entries = entries
        return reasons


def below(path: str) -> str:
    return "/" if path == "/" else f"{path}/"


def total(entries: Entries) -> int:
    return sum(len(content or b"") for content in entries.values())
