"""A bucket as a mount's backend, at a server that speaks S3 (moto's): on conditions, in pages, in the mount's name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from support.backends import ANOTHER, keys, leaves_the_unexpected, stat

from nexmdm.platform import connector_s3
from nexmdm.platform.connector import BackendAwayError, ConflictError, Entry, Remote
from nexmdm.platform.connector_s3 import BucketDirectory, BucketSettings

pytestmark = pytest.mark.slow  # importing moto takes 2 s
SECRET = "of-a-mount-and-nobody-else"


@dataclass(frozen=True)
class Bucket:
    """A bucket of its own, as a client that others have written sees it."""

    client: Any
    name: str
    url: str

    def put(self, key: str, body: bytes = b"x") -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def tree(self) -> dict[str, bytes]:
        found = self.client.list_objects_v2(Bucket=self.name).get("Contents", ())
        return {one["Key"]: self.client.get_object(Bucket=self.name, Key=one["Key"])["Body"].read() for one in found}

    def directory(self, prefix: str = "", timeout_s: float = 5.0, **other: str) -> BucketDirectory:
        given = {"bucket": self.name, "endpoint": self.url, "access_key_id": "mount", "secret_access_key": SECRET}
        return BucketDirectory(BucketSettings(prefix=prefix, region="us-east-1", **(given | other)), timeout_s)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str) -> Bucket:
    import boto3  # type: ignore[import-untyped]  # has no types

    client = boto3.client(
        "s3", endpoint_url=server, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )
    name = f"bucket-{uuid4().hex}"
    client.create_bucket(Bucket=name)
    return Bucket(client, name, server)


@pytest.fixture
def directory(bucket: Bucket) -> BucketDirectory:
    return bucket.directory()


async def test_a_file_is_read_in_ranges(bucket: Bucket, directory: BucketDirectory) -> None:
    bucket.put("a", b"0123456789")
    bucket.put("empty", b"")
    assert await directory.read("a", 0, 10) == (b"0123456789", await stat(directory, "a"))
    assert (await directory.read("a", 3, 4))[0] == b"3456"
    assert (await directory.read("a", 8, 4))[0] == b"89"
    assert (await directory.read("a", 11, 4))[0] == b""
    assert (await directory.read("empty", 0, 4))[0] == b""


async def test_what_is_at_a_path(bucket: Bucket, directory: BucketDirectory) -> None:
    bucket.put("d/a")
    assert [await directory.kind(path) for path in ("", "d", "d/a", "x", "d/a/x")] == [
        "directory", "directory", "file", None, None,
    ]  # fmt: skip
    assert [await directory.stat(path) for path in ("d", "x")] == [None, None]
    with pytest.raises(IsADirectoryError):
        await directory.read("d", 0, 1)
    with pytest.raises(FileNotFoundError):
        await directory.read("x", 0, 1)


async def test_a_file_is_written_replaced_and_deleted(bucket: Bucket, directory: BucketDirectory) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for part in (b"one", b"two"):
            yield part

    first = await directory.write("d/a", parts(), None)
    assert bucket.tree() == {"d/a": b"onetwo"}
    assert (first.etag, first.size) == (await stat(directory, "d/a"))[:2]
    second = await directory.write("d/a", b"new", first)
    assert bucket.tree() == {"d/a": b"new"}
    await directory.delete("d/a", second)
    await directory.delete("d/a", second)
    assert bucket.tree() == {}


async def test_what_was_not_expected_stays(bucket: Bucket, directory: BucketDirectory) -> None:
    expected = await directory.write("a", b"old", None)
    bucket.put("a", b"theirs")
    await leaves_the_unexpected(directory, expected)
    assert bucket.tree() == {"a": b"theirs"}


async def test_of_two_that_make_one_file_one_does(bucket: Bucket, directory: BucketDirectory) -> None:
    made = await asyncio.gather(
        *(directory.write("a", str(number).encode(), None) for number in range(8)), return_exceptions=True
    )
    assert all(isinstance(one, Remote | ConflictError) for one in made)
    [winner] = [number for number, one in enumerate(made) if isinstance(one, Remote)]
    assert bucket.tree() == {"a": str(winner).encode()}


async def test_keys_are_the_paths_below_the_prefix(bucket: Bucket) -> None:
    directory, names = bucket.directory("of/a mount"), ["a b", "ä%20", "#?*", "a+b&c", "~"]
    bucket.put("of/a mounted one/x")
    for name in names:
        await directory.write(name, name.encode(), None)
    assert set(bucket.tree()) == {f"of/a mount/{name}" for name in names} | {"of/a mounted one/x"}
    for name in names:
        assert (await directory.read(name, 0, 10))[0] == name.encode()
    assert [entry.path for entry in await directory.list("", recursive=True, limit=10)] == sorted(names)


@pytest.mark.parametrize("page", [1, 2, 1000])
async def test_a_list_is_in_order_and_in_pages(
    page: int, bucket: Bucket, directory: BucketDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector_s3, "_PAGE", page)
    for key in ("a/x/1", "a/x/2", "a/y", "a.b", "b", "ä", "z/z", "a\u0308"):
        bucket.put(key)
    everything = ["a.b", "a/x/1", "a/x/2", "a/y", "b", "z/z", "ä"]
    shallow = ["a.b", "a/", "b", "z/", "ä"]
    for recursive, wanted in ((True, everything), (False, shallow)):
        for limit in (1, 2, 3, 100):
            found: list[Entry] = []
            while more := await directory.list(
                "", recursive=recursive, after=found[-1].key if found else "", limit=limit
            ):
                assert len(more) <= limit
                found += more
            assert keys(found) == wanted
    assert keys(await directory.list("a", recursive=False, limit=9)) == ["a/x/", "a/y"]
    assert await directory.list("nothing", recursive=True, limit=9) == []
    [entry] = [entry for entry in await directory.list("", recursive=False, limit=9) if entry.path == "b"]
    assert entry.remote == await directory.stat("b")


@pytest.mark.parametrize("page", [2, 3, 1000])
async def test_an_empty_object_that_stands_for_a_directory_is_no_file(
    page: int, bucket: Bucket, directory: BucketDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector_s3, "_PAGE", page)
    for key in ("d/", "d/a", "d/e/", "d.1", "d.2", "z/"):
        bucket.put(key, b"")
    assert keys(await directory.list("", recursive=False, limit=9)) == ["d.1", "d.2", "d/", "z/"]
    assert keys(await directory.list("", recursive=True, limit=9)) == ["d.1", "d.2", "d/a"]
    assert keys(await directory.list("d", recursive=False, limit=9)) == ["d/a", "d/e/"]
    assert keys(await directory.list("z", recursive=False, limit=9)) == []
    assert [await directory.kind(path) for path in ("d", "z", "d/a")] == ["directory", "directory", "file"]


async def test_a_bucket_that_is_missing_is_away_and_not_empty(bucket: Bucket) -> None:
    directory = bucket.directory(bucket="no-such-bucket")
    for call in (
        directory.check(), directory.stat("a"), directory.kind(""), directory.read("a", 0, 1),
        directory.list("", recursive=True, limit=1), directory.delete("a", ANOTHER),
        directory.write("a", b"x", None),
    ):  # fmt: skip
        with pytest.raises(BackendAwayError):
            await call


async def test_a_key_that_no_path_is_does_not_hide_what_is_missing(bucket: Bucket, directory: BucketDirectory) -> None:
    bucket.put("a//b")
    await directory.check()
    assert await directory.kind("") == "directory"
    assert await directory.stat("a/c") is None
    assert (await directory.write("c", b"x", None)).size == 1
    with pytest.raises(BackendAwayError, match="unreadable_key"):
        await directory.list("", recursive=False, limit=9)


async def test_a_server_that_is_away_is_told_without_its_secret(bucket: Bucket) -> None:
    directory = bucket.directory(timeout_s=2.0, endpoint="http://127.0.0.1:1")
    with pytest.raises(BackendAwayError) as away:
        await directory.stat("a")
    assert away.value.__cause__ is None
    assert SECRET not in str(away.value)
    assert "127.0.0.1" not in str(away.value)


async def test_a_file_that_one_request_cannot_hold_is_refused(
    bucket: Bucket, directory: BucketDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"0123456789"

    monkeypatch.setattr(connector_s3, "MOST_BYTES", 29)
    with pytest.raises(BackendAwayError, match="too_large"):
        await directory.write("a", parts(), None)
    assert bucket.tree() == {}


async def test_the_environment_is_the_operators_and_not_the_mounts(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.append((await reader.readuntil(b"\r\n\r\n")).lower())
        writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    for name, value in (
        ("ACCESS_KEY_ID", "operator"), ("SECRET_ACCESS_KEY", "operator"), ("SESSION_TOKEN", "hunter2"),
        ("ENDPOINT_URL", "http://127.0.0.1:1"), ("ENDPOINT_URL_S3", "http://127.0.0.1:1"), ("REGION", "eu-operator-1"),
        ("SKIP_SIGNATURE", "true"), ("REQUEST_PAYER", "true"), ("VIRTUAL_HOSTED_STYLE_REQUEST", "true"),
        ("BUCKET", "operator"), ("CONDITIONAL_PUT", "disabled"), ("DISABLE_BULK_DELETE", "false"),
    ):  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        directory = bucket.directory(endpoint=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        for call in (directory.stat("a"), directory.write("a", b"x", None)):
            with pytest.raises(BackendAwayError):
                await call
    assert len(told) >= 2
    for head in told:
        for wanted in (b"credential=mount/", b"/us-east-1/s3/"):
            assert wanted in head
        for foreign in (b"operator", b"hunter2", b"request-payer"):
            assert foreign not in head


def test_what_the_environment_would_add_is_refused(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SERVER_SIDE_ENCRYPTION", "AES256")
    with pytest.raises(BackendAwayError, match="encryption"):
        bucket.directory()
