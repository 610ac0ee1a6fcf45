"""The S3 server: what goes wrong on the way to it does so, for as often as it is scripted, and nothing else does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from acceptance.system.s3 import BUCKET, S3Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server.start(Path(tmp_path_factory.mktemp("s3") / "log")) as started:
        yield started


@pytest.fixture
def once(server: S3Server) -> Any:
    """A client that asks once."""
    import boto3

    signs = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    config = Config(retries={"total_max_attempts": 1}, read_timeout=5)
    return boto3.client("s3", endpoint_url=server.url, config=config, **signs)


def put(client: Any, name: str) -> None:
    client.put_object(Bucket=BUCKET, Key=f"{name}/a", Body=b"x" * 100_000)


@pytest.mark.parametrize("fault, stored", [
    ({"drop": True}, []),
    ({"drop": True, "effect": True}, ["a"]),
    ({"status": 500}, []),
    ({"status": 500, "effect": True}, ["a"]),
])  # fmt: skip
def test_a_fault_happens_once_with_its_effect(
    fault: dict[str, Any], stored: list[str], server: S3Server, once: Any, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    server.control.script("PUT", fault)
    with pytest.raises((ClientError, BotoCoreError)):
        put(once, name)
    assert server.keys(f"{name}/") == [f"{name}/{one}" for one in stored]
    put(once, name)
    assert server.keys(f"{name}/") == [f"{name}/a"]


def test_an_answer_is_cut(server: S3Server, once: Any) -> None:
    put(once, "cut")
    server.control.script("GET", {"cut": True})
    with pytest.raises(BotoCoreError):
        once.get_object(Bucket=BUCKET, Key="cut/a")["Body"].read()


def test_a_script_goes_on_until_the_next(server: S3Server, once: Any) -> None:
    server.control.script("PUT", {"status": 503, "times": 0})
    for _ in range(3):
        with pytest.raises(ClientError):
            put(once, "later")
    server.control.script("PUT")
    put(once, "later")
