"""The rows `sync/002` and `sync/003` of seed 004: what both sides have changed is flagged, and resolved as is said."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from acceptance.access.requests import UNKNOWN
from acceptance.platform.sync import STRATEGIES, Mount
from acceptance.platform.zones import MIB, Platform
from acceptance.suite.case import case
from acceptance.system.locks import BLOCKED
from acceptance.system.match import accepted, refused
from acceptance.system.system import System
from acceptance.system.web_workers import both, race
from harness.platform.zone import SYNC, Zone
from harness.waiting import eventually

pytestmark = [pytest.mark.auto, pytest.mark.sync]

FIELDS = {
    "conflict_id", "path", "mount_point", "base", "ours", "theirs", "strategy", "status", "resolution", "copy_path",
    "created_at", "resolved_at",
}  # fmt: skip
BASE = "select size, sha256 from mount_bases where mount_id::text = %s and path = %s"
Bytes = bytes | None


def look(zone: Zone, conflict: dict[str, Any]) -> dict[str, Any]:
    """The conflict as it is now."""
    found: dict[str, Any] = accepted(zone.request("GET", f"{SYNC}/conflicts/{conflict['conflict_id']}"))
    return found


@case("sync/002", "listConflicts 200", "getConflict 200", "pushMount 200")
def test_both_sides_have_changed(two_workers: System, platform_of_two: Platform, tmp_path: Path) -> None:
    """A path that both sides changed is listed with base, ours and theirs; neither is overwritten (004: sync/002)."""
    platform = platform_of_two
    mount = Mount(platform, platform.zone(), tmp_path / "data")
    with two_workers.metrics.moves({'nexmdm_platform_sync_changes_total{outcome="conflict"}': 1}):
        conflict = mount.in_conflict(base=b"base", ours=b"our", theirs=b"theirs")
    assert conflict.keys() == FIELDS
    assert (conflict["path"], conflict["mount_point"]) == ("/data/a", "/data")
    assert [conflict[side]["size"] for side in ("base", "ours", "theirs")] == [4, 3, 6]
    assert len({conflict[side]["etag"] for side in ("base", "ours", "theirs")}) == 3
    assert [conflict[name] for name in ("strategy", "status", "resolution", "copy_path", "resolved_at")] == [
        "manual", "open", None, None, None,
    ]  # fmt: skip
    [line] = [
        line
        for line in two_workers.logs.since()
        if line["event"] == "platform.sync.conflict" and line["zone_id"] == mount.zone.zone_id
    ]
    assert (line["conflict_id"], line["level"]) == (conflict["conflict_id"], "WARNING")
    with both(two_workers):
        for _ in range(2):
            assert look(mount.zone, conflict) == conflict
            assert mount.pushed() == (0, 0, 0, 1)  # it is no new one, and waits
    assert accepted(mount.push())["metrics"]["conflicts_open"] == 1
    assert mount.at_backend("a") == b"theirs"
    assert mount.told("conflict") == ["/data/a"]
    assert mount.zone.usage()["max_storage_bytes"] == 3


@case("conflicts/002", "listConflicts 200")
@pytest.mark.parametrize(
    "base, ours, theirs, flagged",
    [
        (b"base", b"same", b"same", False),
        (b"base", None, None, False),
        (b"base", None, b"theirs", True),
        (b"base", b"ours", None, True),
        (None, b"ours", b"there", True),
        (None, b"same", b"same", False),
    ],
    ids=["equal", "both deleted", "deleted here", "deleted there", "first onto another", "first onto the same"],
)
def test_what_is_a_conflict(
    base: Bytes, ours: Bytes, theirs: Bytes, flagged: bool, zone: Zone, platform: Platform, tmp_path: Path
) -> None:
    """Equal changes are none; a delete against a change, and a first delivery onto other bytes are (004: sync/002)."""
    mount = Mount(platform, zone, tmp_path / "data")
    if flagged:
        conflict = mount.in_conflict(base=base, ours=ours, theirs=theirs)
        shown = [conflict[side] and conflict[side]["size"] for side in ("base", "ours", "theirs")]
        assert shown == [content and len(content) for content in (base, ours, theirs)]
    else:
        if base is not None:
            mount.change("a", base)
            mount.pushed()
        mount.change("a", ours)
        if theirs is None:
            (mount.root / "a").unlink()
        else:
            (mount.root / "a").write_bytes(theirs)
        assert mount.pushed() == (1, 0, 0, 0)
        assert mount.conflicts() == []
    assert mount.at_backend("a") == theirs


# What each strategy leaves: how it ended, the backend's bytes, those of the copy.
ENDS: dict[str, tuple[str, Bytes, Bytes]] = {
    "keep_local": ("keep_local", b"ours", None),
    "keep_remote": ("keep_remote", b"theirs", None),
    "keep_newer": ("keep_remote", b"theirs", None),
    "keep_larger": ("keep_remote", b"theirs", None),
    "keep_both": ("keep_both", b"theirs", b"ours"),
    "abort": ("abort", b"theirs", None),
}


@case("sync/003", "resolveConflict 200", "resolveConflict 409")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy(strategy: str, zone: Zone, platform: Platform, system: System, tmp_path: Path) -> None:
    """Each strategy leaves the bytes that it says, the base, its event and a clean push; twice is 409 (004)."""
    mount = Mount(platform, zone, tmp_path / "data")
    conflict = mount.in_conflict()
    resolution, theirs, copy = ENDS[strategy]
    with system.metrics.moves({f'nexmdm_platform_sync_resolved_total{{resolution="{resolution}"}}': 1}):
        answer = mount.resolve(conflict, strategy)
    ended = accepted(answer)
    assert [ended[name] for name in ("strategy", "status", "resolution")] == [strategy, "resolved", resolution]
    assert look(zone, conflict) == ended
    system.logs.expect(
        answer, "platform.sync.resolved", conflict_id=conflict["conflict_id"], strategy=strategy, resolution=resolution,
        mount_point="/data",
    )  # fmt: skip
    with platform.unchanged():
        refused(mount.resolve(conflict, strategy), 409, "conflict_resolved")
    assert mount.told("resolved") == ["/data/a"]
    assert mount.at_backend("a") == theirs
    names = {path.name for path in mount.root.iterdir()}
    if copy is None:
        assert (ended["copy_path"], names) == (None, {"a"})
    else:
        assert ended["copy_path"].startswith("/data/a.sync-conflict-2")
        assert ended["copy_path"].endswith(f"Z-{mount.id[:8]}")
        name = ended["copy_path"].removeprefix("/data/")
        assert (mount.at_backend(name), names) == (copy, {"a", name})
        mount.change(name, b"and on")
    platform.adds_up(zone.zone_id)
    if strategy == "abort":
        assert mount.pushed() == (0, 0, 1, 1)  # it is judged again
        assert [one["conflict_id"] != conflict["conflict_id"] for one in mount.conflicts()] == [True]
        return
    assert system.db.row(BASE, mount.id, "a")["size"] == len(theirs or b"")
    assert mount.pushed() == (int(copy is not None), 0, 0, 0)
    assert accepted(mount.push())["metrics"]["conflicts_resolved"] == 1
    assert zone.usage()["max_files"] == 0
    mount.change("a", b"and on")
    assert mount.pushed() == (1, 0, 0, 0)


@case("conflicts/004", "resolveConflict 200")
@pytest.mark.parametrize(
    "strategy, ours, theirs, age_s, resolution",
    [
        ("keep_newer", b"ours", b"theirs", 3600, "keep_local"),
        ("keep_newer", b"ours", b"theirs", -3600, "keep_remote"),
        ("keep_newer", None, b"theirs", 3600, "keep_remote"),
        ("keep_newer", b"ours", None, 0, "keep_local"),
        ("keep_larger", b"ours is more", b"theirs", 0, "keep_local"),
        ("keep_larger", b"ours", b"theirs", 0, "keep_remote"),
        ("keep_larger", b"as long", b"as much", 0, "keep_both"),
        ("keep_both", None, b"theirs", 0, "keep_remote"),
        ("keep_both", b"ours", None, 0, "keep_local"),
        ("keep_local", None, b"theirs", 0, "keep_local"),
        ("keep_remote", b"ours", None, 0, "keep_remote"),
    ],
)
def test_what_a_strategy_comes_to(
    strategy: str,
    ours: Bytes,
    theirs: Bytes,
    age_s: int,
    resolution: str,
    zone: Zone,
    platform: Platform,
    tmp_path: Path,
) -> None:
    """Newer and larger compare; a side without a file loses, and of equals both stay (004: sync/003)."""
    mount = Mount(platform, zone, tmp_path / "data")
    conflict = mount.in_conflict(ours=ours, theirs=theirs)
    if age_s:
        stamp = (mount.root / "a").stat().st_mtime - age_s
        os.utime(mount.root / "a", (stamp, stamp))
        refused(mount.resolve(conflict, strategy), 412, "conflict_changed")
    ended = accepted(mount.resolve(conflict, strategy))
    assert (ended["strategy"], ended["resolution"]) == (strategy, resolution)
    assert mount.at_backend("a") == (ours if resolution == "keep_local" else theirs)
    if resolution == "keep_both":
        assert mount.at_backend(ended["copy_path"].removeprefix("/data/")) == ours
    assert mount.pushed() == (0, 0, 0, 0)
    assert mount.left()["mount_changes"] == 0
    platform.adds_up(zone.zone_id)


@case("conflicts/005", "resolveConflict 412")
@pytest.mark.parametrize("strategy", ["keep_local", "keep_remote", "keep_both", "abort"])
def test_a_side_has_moved(strategy: str, zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """What nobody has been shown is never overwritten: 412, and the conflict shows it from then on (004: sync/003)."""
    mount = Mount(platform, zone, tmp_path / "data")
    conflict = mount.in_conflict()
    (mount.root / "a").write_bytes(b"theirs again")
    refused(mount.resolve(conflict, strategy), 412, "conflict_changed")
    shown = look(zone, conflict)
    assert (shown["ours"], shown["theirs"]["size"], shown["status"]) == (conflict["ours"], 12, "open")
    mount.change("a", b"ours too")
    refused(mount.resolve(conflict, strategy), 412, "conflict_changed")
    shown = look(zone, conflict)
    assert (shown["ours"]["size"], shown["theirs"]["size"], shown["status"]) == (8, 12, "open")
    assert [mount.at_backend("a"), *(path.name for path in mount.root.iterdir())] == [b"theirs again", "a"]
    assert mount.told("resolved") == []
    accepted(mount.resolve(conflict, strategy))
    assert mount.at_backend("a") == (b"ours too" if strategy == "keep_local" else b"theirs again")


@case("conflicts/006", "resolveConflict 404", "getConflict 404", "resolveConflict 409", "resolveConflict 422")
def test_conflicts_that_cannot_be_resolved(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """What is no conflict of the zone is 404; one that another request resolves is 409, until its lease ends (004)."""
    mount = Mount(platform, zone, tmp_path / "data")
    conflict = mount.in_conflict()
    foreign = platform.zone()
    path = f"{SYNC}/conflicts/{conflict['conflict_id']}"
    with platform.unchanged():
        for other in (f"{SYNC}/conflicts/{UNKNOWN}", f"{SYNC}/conflicts/nothing", f"{SYNC}/conflicts/%00"):
            refused(zone.request("GET", other), 404, "conflict_not_found")
            refused(zone.request("POST", f"{other}/resolve", json={"strategy": "abort"}), 404, "conflict_not_found")
        refused(foreign.request("GET", path), 404, "conflict_not_found")
        refused(foreign.request("POST", f"{path}/resolve", json={"strategy": "abort"}), 404, "conflict_not_found")
        for body in ({}, {"strategy": "guess"}, {"strategy": "abort", "other": 1}, {"strategy": None}):
            refused(zone.request("POST", f"{path}/resolve", json=body), 422, "validation_error")
    held = "update mount_conflicts set lease_until = now() + %(lease)s::interval where conflict_id::text = %(id)s"
    platform.write(held, id=conflict["conflict_id"], lease="1 hour")
    with platform.unchanged():
        refused(mount.resolve(conflict, "keep_local"), 409, "conflict_busy")
    platform.write(held, id=conflict["conflict_id"], lease="-1 s")
    assert accepted(mount.resolve(conflict, "keep_local"))["status"] == "resolved"


@case("conflicts/007", "resolveConflict 503", "resolveConflict 200")
def test_the_backend_is_away_from_a_conflict(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """While the backend is away a conflict stays as it is: 503; afterwards it is resolved (004: sync/003)."""
    mount = Mount(platform, zone, tmp_path / "data")
    conflict = mount.in_conflict()
    mount.root.rename(tmp_path / "away")
    with platform.unchanged():
        for strategy in STRATEGIES:
            refused(mount.resolve(conflict, strategy), 503, "mount_backend_unavailable")
        assert look(zone, conflict) == conflict
    (tmp_path / "away").rename(mount.root)
    assert accepted(mount.resolve(conflict, "keep_local"))["status"] == "resolved"
    assert mount.at_backend("a") == b"ours"


@case("conflicts/008", "resolveConflict 409", "resolveConflict 200")
def test_of_those_who_resolve_one_does(two_workers: System, platform_of_two: Platform, tmp_path: Path) -> None:
    """Of eight that resolve a conflict at once, at two workers, one does, the others are 409 (004: sync/003)."""
    mount = Mount(platform_of_two, platform_of_two.zone(), tmp_path / "data")
    for path in ("a", "b", "c"):
        conflict = mount.in_conflict(path)
        ways = [strategy for strategy in ("keep_local", "keep_remote", "keep_both", "keep_local") for _ in range(2)]
        answers = race(two_workers, [partial(mount.resolve, conflict, way) for way in ways])
        statuses = [answer.status for answer in answers]
        assert sorted(statuses) == [200] + [409] * 7
        assert {answer.json()["code"] for answer in answers if answer.status == 409} <= {
            "conflict_busy", "conflict_resolved",
        }  # fmt: skip
        won = ways[statuses.index(200)]
        assert mount.at_backend(path) == (b"ours" if won == "keep_local" else b"theirs")
    assert mount.told("resolved") == [f"/data/{path}" for path in ("a", "b", "c")]
    platform_of_two.adds_up(mount.zone.zone_id)


@case("conflicts/009", "resolveConflict 200")
def test_a_conflict_that_is_left_open(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """`manual` leaves it open; what is written after that waits with it, and nothing is delivered (004: sync/003)."""
    mount = Mount(platform, zone, tmp_path / "data")
    conflict = mount.in_conflict()
    accepted(mount.resolve(conflict, "manual"))
    assert look(zone, conflict) == conflict
    assert mount.told("resolved") == []
    mount.change("a", b"and more")
    assert mount.pushed() == (0, 0, 0, 1)
    assert mount.at_backend("a") == b"theirs"
    refused(zone.request("POST", f"{SYNC}/conflicts/{conflict['conflict_id']}/resolve"), 415, "unsupported_media_type")


@case("conflicts/010", "listConflicts 200", "listConflicts 422")
def test_conflicts_are_listed_in_pages(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """Conflicts are listed newest first, each once over pages, by status and by mount (platform.md: conflicts)."""
    mount, other = (Mount(platform, zone, tmp_path / point, f"/{point}") for point in ("one", "two"))
    made = [mount.in_conflict(path) for path in ("a", "b", "c")] + [other.in_conflict("a")]
    accepted(mount.resolve(made[1], "abort"))
    pages = partial(zone.request, "GET", f"{SYNC}/conflicts")
    first = accepted(pages(params={"limit": 3}))
    rest = accepted(pages(params={"limit": 3, "cursor": first["next_cursor"]}))
    ids = [one["conflict_id"] for one in made]
    assert [one["conflict_id"] for one in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None
    found = accepted(pages(params={"status": "resolved"}))["items"]
    assert [one["conflict_id"] for one in found] == [ids[1]]
    assert [one["conflict_id"] for one in mount.conflicts(mount_point="/one")] == [ids[2], ids[0]]
    for params in ({"status": "closed"}, {"cursor": "AAAA"}, {"limit": "0"}):
        refused(pages(params=params), 422, "validation_error")


@case("conflicts/011", "resolveConflict 200")
@pytest.mark.parametrize("there", [b"another's", None], ids=["taken", "of a killed try"])
def test_a_copy_takes_no_place(there: Bytes, zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """A copy has a name that a file can have, ends a try that was killed, and replaces nobody's file (004)."""
    mount = Mount(platform, zone, tmp_path / "data")
    name, ours = "deep/" + "ü" * 127, b"ours" * MIB
    conflict = mount.in_conflict(name, ours=ours)
    at = "".join(letter for letter in conflict["created_at"] if letter not in "-:.")
    copy = f"deep/{'ü' * 104}.sync-conflict-{at}-{mount.id[:8]}"
    (mount.root / copy).write_bytes(there or ours)
    ended = accepted(mount.resolve(conflict, "keep_both"))
    found = ended["copy_path"].removeprefix("/data/")
    assert (found == copy) == (there is None)
    assert mount.at_backend(found) == ours
    assert mount.at_backend(copy) == (there or ours)
    assert mount.at_backend(name) == b"theirs"
    assert len(found.removeprefix("deep/").encode()) in (254, 255)


@case("conflicts/012", "resolveConflict 412")
@pytest.mark.parametrize("strategy", ["keep_local", "keep_both"])
def test_nobody_writes_once_the_lease_is_over(strategy: str, zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """A caller whose lease has ended writes nothing: 412, and both sides are as they were (004)."""
    mount = Mount(platform, zone, tmp_path / "data")
    conflict = mount.in_conflict()
    ends = "update mount_conflicts set lease_until = now() - interval '1 s' where conflict_id::text = %s"
    with psycopg.connect(platform.system.target.database_url or "") as owner, ThreadPoolExecutor(1) as pool:
        owner.execute("lock table mount_bases in access exclusive mode")  # the lease is taken before bases are read
        resolving = pool.submit(mount.resolve, conflict, strategy)
        eventually(lambda: platform.system.db.value(BLOCKED) == 1, within_s=4.0)
        owner.execute(ends, [conflict["conflict_id"]])
        owner.commit()
        refused(resolving.result(), 412, "conflict_changed")
    assert mount.at_backend("a") == b"theirs"
    assert [file.name for file in mount.root.iterdir()] == ["a"]
    assert look(zone, conflict)["status"] == "open"


@case("conflicts/013", "resolveConflict 200", "readFile result")
def test_a_copy_of_a_path_that_leaves_no_room(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """Where its directory leaves no room for its name a copy lies above it: it can be read by its path (004)."""
    mount = Mount(platform, zone, tmp_path / "data")
    conflict = mount.in_conflict("/".join([*["d" * 250] * 4, "a"]))
    copy = accepted(mount.resolve(conflict, "keep_both"))["copy_path"]
    assert zone.read(copy) == mount.at_backend(copy.removeprefix("/data/")) == b"ours"
    assert len(copy.encode()) <= 1024
    assert mount.pushed() == (0, 0, 0, 0)
