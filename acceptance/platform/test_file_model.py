"""The files of a zone against a model in memory: any order of calls leaves what the model says, over HTTP."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from acceptance.platform.file_tree import FileTree
from acceptance.platform.model import OfAZone, compare
from acceptance.platform.zones import Platform, error_of
from acceptance.suite.case import case

LIMITS = {"max_storage_bytes": 200_000, "max_files": 6}
# Few names, one the beginning of another, so that calls meet one another; a size beyond the row.
PATHS = st.lists(st.sampled_from(["a", "a-b", "a0"]), min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
CONTENTS = st.builds(
    lambda letter, size: letter * size, st.sampled_from([b"x", b"\xff"]), st.sampled_from([0, 7, 70_000])
)


class Files(OfAZone):
    """Calls of one zone, each with the same call of the model."""

    limits = LIMITS

    def __init__(self) -> None:
        super().__init__()
        self._tree = FileTree(*LIMITS.values())

    def _both(self, reasons: set[str], call: Callable[[], Any]) -> None:
        if not reasons:
            call()
        else:
            assert error_of(call).kind in reasons

    @rule(path=PATHS, content=CONTENTS)
    def write(self, path: str, content: bytes) -> None:
        self._both(self._tree.write(path, content), lambda: self._zone.write(path, content))

    @rule(path=PATHS)
    def delete(self, path: str) -> None:
        self._both(self._tree.delete(path), lambda: self._zone.rpc("delete", path=path))

    @rule(old=PATHS, new=PATHS)
    def rename(self, old: str, new: str) -> None:
        self._both(self._tree.rename(old, new), lambda: self._zone.rpc("rename", old_path=old, new_path=new))

    @rule(path=PATHS, parents=st.booleans())
    def mkdir(self, path: str, parents: bool) -> None:
        self._both(self._tree.mkdir(path, parents), lambda: self._zone.rpc("mkdir", path=path, parents=parents))

    @rule(path=PATHS, recursive=st.booleans())
    def rmdir(self, path: str, recursive: bool) -> None:
        self._both(self._tree.rmdir(path, recursive), lambda: self._zone.rpc("rmdir", path=path, recursive=recursive))

    @rule(path=PATHS)
    def read(self, path: str) -> None:
        content = self._tree.entries.get(path)
        if content is not None:
            assert self._zone.read(path) == content
        assert self._zone.rpc("exists", path=path) is self._tree.exists(path)

    @invariant()
    def is_as_the_model_says(self) -> None:
        listed = {entry["path"]: (entry["type"], entry["size"]) for entry in self._zone.entries(limit=4)}
        assert listed == {
            path: ("directory" if content is None else "file", len(content or b""))
            for path, content in self._tree.entries.items()
        }
        usage = self._zone.usage()
        assert (usage["max_storage_bytes"], usage["max_files"]) == (self._tree.size, len(self._tree.entries))

    def teardown(self) -> None:
        for path, content in self._tree.entries.items():
            assert content is None or self._zone.read(path) == content
        super().teardown()


@case("file-model/001", slow="some 2,000 requests")
def test_files_are_as_a_model_says(platform: Platform) -> None:
    """Whatever calls come in whatever order, files, contents and usage are what a model in memory says (issue 16)."""
    compare(Files, platform, zones=25)
