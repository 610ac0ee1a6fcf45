"""Objects in a bucket that speaks S3. Endpoint, region and credentials are those of the environment (`AWS_*`)."""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from nexmdm.kernel.settings import HTTP_URL, foreign

_URL: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_*'()-][A-Za-z0-9!_.*'()-]*)*/?")
_ENDPOINT: Final = "AWS_ENDPOINT_URL"


def storage_url(value: str) -> str:
    """A directory, or the URL of a bucket. ValueError: neither, or its AWS_ variables are wrong; it holds no value."""
    if "://" not in value:
        return value
    if _URL.fullmatch(value) is None:
        raise ValueError("must be a directory, or s3://bucket/prefix")
    if (endpoint := foreign(_ENDPOINT)) and HTTP_URL.fullmatch(endpoint) is None:
        raise ValueError(f"{_ENDPOINT} beside it must be an http:// or https:// URL without query")
    try:
        _open(value)  # and no call: what that starts would be missing in the processes that are forked later
    except BaseError:
        raise ValueError("the AWS_ variables beside it describe no store") from None
    return value


class Bucket:
    """Objects below the prefix of an URL. BaseError, FileNotFoundError."""

    def __init__(self, url: str) -> None:
        self._store = _open(url)

    async def put(self, zone: UUID, name: UUID, content: bytes | memoryview) -> None:
        # In one request: no list shows the parts of one that is never finished.
        await obstore.put_async(self._store, _path(zone, name), content, use_multipart=False)

    async def get(self, zone: UUID, name: UUID, offset: int, length: int) -> bytes:
        try:
            return bytes(await obstore.get_range_async(self._store, _path(zone, name), start=offset, length=length))
        except FileNotFoundError as error:
            if "NoSuchKey" in str(error):
                return b""
            raise  # the bucket is missing

    async def delete(self, zone: UUID, name: UUID) -> None:
        await obstore.delete_async(self._store, _path(zone, name))

    async def remove_zone(self, zone: UUID) -> None:
        async for found in obstore.list(self._store, f"zones/{zone}"):
            await obstore.delete_async(self._store, [one["path"] for one in found])


def _open(url: str) -> S3Store:
    return S3Store.from_url(url, client_options={"allow_http": True}, retry_config={"max_retries": 2})


def _path(zone: UUID, name: UUID) -> str:
    return f"zones/{zone}/{name}"
